"""Which file the policy is read from, and what is wrong with it."""
