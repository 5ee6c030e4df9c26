"""Rounds of training and pseudo-labelling in turn: the paper's cycle as one run that goes on where it was stopped."""
