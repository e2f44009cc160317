"""Where each version of CPython keeps what the probes read: one file a version."""
