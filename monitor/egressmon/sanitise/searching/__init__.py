"""Find secrets in bytes, below their encodings."""
