"""What a record may say: its shape, its values, and what it refers to."""
