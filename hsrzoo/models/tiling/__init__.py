"""Images larger than memory: cut into tiles, run in passes, exact where the network declares its reach."""
