"""Which package owns a file, by the records of package managers."""
