"""Compare what the kernel saw of a run with what a guard inside it decided."""
