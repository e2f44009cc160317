"""Record: what is written, and its proof."""
