"""Speed and memory of models, measured in turn."""
