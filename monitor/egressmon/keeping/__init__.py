"""The process that keeps the rights, and the command's, which is its child."""
