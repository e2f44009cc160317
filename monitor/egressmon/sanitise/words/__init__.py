"""Mask secrets in words and texts, by their names and shapes."""
