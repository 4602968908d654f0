"""Calls that are watched, measured: how often it is wrong, and how soon it decides."""
