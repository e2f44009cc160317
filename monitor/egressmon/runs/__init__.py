"""One watched run, from attaching the probes to the verdict on the run."""
