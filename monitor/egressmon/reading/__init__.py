"""Read evidence back, whoever wrote it: bounded, and one line at a time."""
