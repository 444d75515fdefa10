// The colours that were chosen before, before anything is drawn.
try {
  const theme = localStorage.getItem('tidegate-theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // no storage: those of the system
}
