"""A run that lasts: it watches what is there, until somebody ends it."""
