"""Recordings: decoding, features, how much of one is speech."""
