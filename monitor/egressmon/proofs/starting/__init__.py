"""Start a run with root's rights, for a process that has none."""
