"""From a path down to its lines: which files are a run, and what each line is."""
