"""Filtered vector search measured against what else there is: `python -m benchmarks.hybrid`."""
