"""The options of each verb, and what `--help` says of it."""
