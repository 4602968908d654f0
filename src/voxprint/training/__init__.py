"""The recipe that makes an encoder for short, noisy, telephone speech.

Needs the extra ``train`` (PyTorch), which nothing else in this package imports.
"""

from __future__ import annotations

from voxprint.errors import VoxprintError


def needs_torch() -> None:
    """Say what to install where PyTorch is missing.

    Raises:
        VoxprintError: it is.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise VoxprintError(
            f"expected PyTorch to train with, it cannot be imported: {error}",
            hint="pip install 'voxprint[train]'",
        ) from error
