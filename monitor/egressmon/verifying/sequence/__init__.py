"""What lines say one after the other: their chain, their parts, their numbers."""
