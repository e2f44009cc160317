"""Verify evidence that somebody hands over: offline, without rights, on any machine."""
