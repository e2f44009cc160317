"""How this process was started: by whom, with what, and from whose code."""
