"""Measuring on any machine: what runs, how fast, and in how much memory."""
