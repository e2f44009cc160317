"""Native modules: from a stack to the library that called, and by which route."""
