"""Calls while they go on: one session a side of a call, sound in, events out."""
