"""Decode: turn the bytes of the probes into frozen values."""
