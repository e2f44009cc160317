"""What differs by processor in a walk: calls, and code without tables."""
