"""From scenes to batches: how scenes are stored, the cache on disk, drawing in worker processes."""
