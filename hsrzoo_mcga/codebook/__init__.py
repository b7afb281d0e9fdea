"""Codebooks: look-up, folders on disk, the Hub."""
