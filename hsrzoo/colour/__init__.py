"""Colour: camera responses, encodings, matrices between cameras, charts, white."""
