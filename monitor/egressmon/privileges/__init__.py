"""Who may do what: users, capabilities and what is given up."""
