"""Compare a policy with what was reached, and list all of that for a review."""
