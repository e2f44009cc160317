"""What speaks of evidence from beside it: anchors, signatures, and summaries."""
