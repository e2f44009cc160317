"""Say what a policy would have to allow: to add to one, or as a new one."""
