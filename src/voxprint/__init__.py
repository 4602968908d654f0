"""Voiceprints in SQL."""
