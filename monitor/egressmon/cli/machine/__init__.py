"""The verbs about this machine and its environments: `doctor`, `guard`."""
