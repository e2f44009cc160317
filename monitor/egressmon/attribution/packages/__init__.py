"""Which package owns a file, by its managers' own accounts."""
