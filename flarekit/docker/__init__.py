"""Packaging for a challenge: a folder to build a container image from, with weights and every version pinned."""
