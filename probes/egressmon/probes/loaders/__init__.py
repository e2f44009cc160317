"""Choose an engine, and load the programs into the kernel with it."""
