"""Tell how a run went, or a sidecar's: on a terminal, and for CI systems."""
