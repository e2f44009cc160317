"""Say what the runs of a proof show, and whether it is still what they show."""
