"""The command line: verbs, options, and what is said of errors."""
