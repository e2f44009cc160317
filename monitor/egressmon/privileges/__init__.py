"""Users and capabilities: what each process may do, and what it gives up."""
