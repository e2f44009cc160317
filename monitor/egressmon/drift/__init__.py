"""What runs reach, kept as a reviewed baseline, and what differs from it later."""
