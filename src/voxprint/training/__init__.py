"""The recipe that makes an encoder for short, noisy, telephone speech.

Needs the extra ``train`` (PyTorch), which nothing else in this package imports.
"""
