"""Which engine, and how the kernel is made to take the programs."""
