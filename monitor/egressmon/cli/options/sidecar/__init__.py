"""The options of `egressmon sidecar`, and of its own verbs."""
