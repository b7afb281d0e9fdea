"""What a benchmark runs: models, conditions and the cells that they span."""
