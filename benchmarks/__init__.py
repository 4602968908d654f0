"""What voxprint measures of itself: `python -m benchmarks`, results in docs/results.md."""
