"""Intervals, paired differences and ranks."""
