"""Have systemd run the sidecar: the unit's text, and where it is written."""
