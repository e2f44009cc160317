"""Prove what a scenario reaches: several runs of it, in phases, compared."""
