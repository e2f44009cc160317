"""What may be reached: the policy's model, its file, and the judge."""
