"""Mask secrets in commands, as their programs read them."""
