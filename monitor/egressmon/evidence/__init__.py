"""Record: write the evidence, and prove that it is whole."""
