"""Report: how a run went, for people and for the tools that they use."""
