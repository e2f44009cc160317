"""What people and their tools read of a run."""
