"""The keeper, which is the process that keeps rights, and its child, the command."""
