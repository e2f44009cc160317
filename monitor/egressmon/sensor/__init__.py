"""The probes attached to one scope: batches of events, losses, canaries."""
