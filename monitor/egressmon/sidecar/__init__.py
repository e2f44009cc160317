"""How a running sidecar is spoken with: who may ask for what, and who asks."""
