"""One watched run, from its beginning to what is said of it."""
