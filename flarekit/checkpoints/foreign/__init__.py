"""Weights of other projects, in and out under their own names."""
