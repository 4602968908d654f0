"""What students of the training (docs/training.md) are worth."""
