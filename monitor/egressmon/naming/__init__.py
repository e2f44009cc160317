"""Name: under which host name an address goes."""
