"""Photographs: their pixels in all bits, and what their files state about them."""
