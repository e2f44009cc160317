"""Play a plan once: its processes, its phases, and all that is waited for."""
