"""The network that turns an utterance into an embedding, and its weights."""
