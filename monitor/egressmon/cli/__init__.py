"""The command line: verbs, options, and error messages."""
