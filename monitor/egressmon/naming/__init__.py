"""Name: the host names that an address is known by."""
