"""From a model name to a loaded model: names, weights, the reconstruction pipeline, conversion."""
