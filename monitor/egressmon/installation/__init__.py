"""Install egressmon so that only root can change it."""
