"""The kernel side: probe programs, their wire format, and what loads them."""
