"""From stored rows to figures: means, intervals, ranks and what the paper reports."""
