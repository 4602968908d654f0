"""A student that is one only in some of its layers: weights between teacher and student, by part.

Run as ``python -m benchmarks.training.layers STUDENT.npz OUT.npz --whole 0.5 --shares 1 1 0 0``.
Parts are the convolutional head, the first dense block with what lies before it, the second, and
the third with what lies behind it. 0 leaves the teacher, 1 takes the student; ``--whole`` says how
far between the two the given weights lie already.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from voxprint.encoder.checkpoint import StateDict, read_weights
from voxprint.encoder.download import locate
from voxprint.encoder.spec import DEFAULT_MODEL

#: Beginnings of the names in each part but the last.
PARTS = (
    ("head.",),
    ("xvector.tdnn.", "xvector.block1.", "xvector.transit1."),
    ("xvector.block2.", "xvector.transit2."),
)


def main() -> None:
    """Read, mix, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("student", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--whole", type=float, default=1.0, help="where the given weights lie")
    parser.add_argument("--shares", type=float, nargs=4, required=True, metavar="SHARE")
    given = parser.parse_args()
    _, published = locate(DEFAULT_MODEL.weights, None, lambda *_: None)
    made = mixed(
        read_weights(published), read_weights(given.student.read_bytes()), given.whole, given.shares
    )
    np.savez(given.out, **made)  # type: ignore[arg-type]


def mixed(teacher: StateDict, given: StateDict, whole: float, shares: list[float]) -> StateDict:
    """Weights whose parts lie at these shares of the way from teacher to student."""
    return {
        name: (teacher[name] + shares[_part(name)] / whole * (value - teacher[name])).astype(
            np.float32
        )
        for name, value in given.items()
    }


def _part(name: str) -> int:
    for number, beginnings in enumerate(PARTS):
        if name.startswith(beginnings):
            return number
    return len(PARTS)


if __name__ == "__main__":
    main()
