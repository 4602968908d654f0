"""What the training is worth, piece by piece; results in docs/training.md."""
