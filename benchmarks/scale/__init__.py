"""How the search grows: `python -m benchmarks.scale`, results in docs/results.md."""
