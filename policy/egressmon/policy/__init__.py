"""The policy: which file it is read from, what it may say, and how it judges."""
