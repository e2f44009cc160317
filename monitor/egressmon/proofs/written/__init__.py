"""What a proof leaves in its folder, without secrets, and what it removes again."""
