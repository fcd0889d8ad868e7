"""State and engines beyond one process."""
