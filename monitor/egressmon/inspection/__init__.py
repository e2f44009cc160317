"""Which native code could open connections by itself, found without running any."""
