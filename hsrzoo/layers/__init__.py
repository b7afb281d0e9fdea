"""Building blocks for networks: pixel rows, pointwise products, statistics of whole images."""
