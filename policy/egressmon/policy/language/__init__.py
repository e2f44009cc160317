"""What a policy may say: its tables, and the values of their keys."""
