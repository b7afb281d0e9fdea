"""A static site from the result store."""
