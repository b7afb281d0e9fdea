"""Files, provenance, workers: what every layer may use."""
