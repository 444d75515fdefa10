"""`make chaos`: real processes, broken on purpose, under load, by a seeded schedule; and what came of it, counted."""
