"""Installations that only root can write."""
