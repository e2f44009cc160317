"""Decode: what the probes tell of, from bytes to frozen values."""
