"""What is to be done: a plan as its author writes it, strictly checked."""
