// A Vue 3 store of a chat: state that templates can show, and functions that change it.
import { onScopeDispose, reactive, readonly } from 'vue'
import { Tidegate } from 'tidegate'

/** Connect; the connection ends with the scope (the component, say) in which this is called. */
export function useChat(url, options) {
  // Not in `reactive`: a proxy cannot reach private fields. What templates need is copied into the state.
  const tide = new Tidegate(url, options)
  const state = reactive({ status: tide.status, unread: undefined, messages: [], missed: false })

  tide.on('status', ({ status }) => (state.status = status))
  tide.on('unread_count', ({ unread_count }) => (state.unread = unread_count))
  tide.on('resync', () => (state.missed = true)) // load the messages anew from your own API
  tide.on('new_message', ({ from, group_id, content }, { message_id }) => {
    state.messages.push({ id: message_id, from, group: group_id, content, pending: false })
  })
  tide.on('message_recalled', ({ message_id }) => {
    state.messages = state.messages.filter(({ id }) => id !== message_id)
  })

  /** Show a message at once, and mark it once it is stored. */
  async function send(group, content) {
    const id = `${Date.now()}-${Math.random()}`
    state.messages.push({ id, from: 'me', group, content, pending: true })
    const message = state.messages.at(-1)
    try {
      await tide.send(group, content, { messageId: id })
    } catch (error) {
      message.error = error.message
    } finally {
      message.pending = false
    }
  }

  onScopeDispose(() => tide.close())
  return { state: readonly(state), join: (group) => tide.join(group), send, connect: () => tide.connect() }
}
