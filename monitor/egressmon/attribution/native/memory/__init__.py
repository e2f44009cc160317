"""What a process has mapped: its files, as the kernel told of them or /proc says."""
