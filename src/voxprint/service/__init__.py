"""What the verbs do, above database and encoder."""
