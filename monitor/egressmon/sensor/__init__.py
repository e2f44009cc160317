"""The probes around one scope: events in batches, losses, and the proof."""
