"""Trials, the metrics on their scores, and how sure those are."""
