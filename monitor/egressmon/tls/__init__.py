"""Handshakes of its own with named hosts, recorded as data: `egressmon tls`."""
