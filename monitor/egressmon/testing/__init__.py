"""A run of pytest under the guard: `--egress-guard`."""
