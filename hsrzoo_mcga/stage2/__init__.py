"""Stage 2: RGB to spectra through frozen codebooks."""
