"""The verbs that run a command: `watch`, `learn`, `prove`."""
