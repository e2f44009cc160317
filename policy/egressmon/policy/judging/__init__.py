"""How a policy judges: which entry covers what, and why."""
