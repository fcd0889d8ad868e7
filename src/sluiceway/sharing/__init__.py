"""State that processes share through a store: what a process holds of it, and the tasks that fetch and return it."""
