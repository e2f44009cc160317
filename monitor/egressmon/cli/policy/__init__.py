"""The verb `policy`, and the files in which other verbs write policies."""
