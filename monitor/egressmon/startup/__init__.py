"""How this process was started: by which user, with which environment and code."""
