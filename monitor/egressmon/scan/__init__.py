"""Search files and folders for secrets: `egressmon scan`."""
