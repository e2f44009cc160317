"""The verb `sidecar`: start one, ask one, have systemd start it."""
