"""System calls and shared pages: what the running kernel is asked for."""
