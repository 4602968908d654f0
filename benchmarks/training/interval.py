"""How far a mean over few runs may lie from that over many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: 97.5 % quantiles of Student's t, by degrees of freedom from 1; beyond them the last is too wide.
_T = (
    *(12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13),
    *(2.12, 2.11, 2.10, 2.09, 2.09, 2.08, 2.07, 2.07, 2.06, 2.06, 2.06, 2.05, 2.05, 2.05, 2.04),
)


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval (Student's t); NaN for fewer than two."""
    if len(values) < 2:
        return float(np.mean(values)), float("nan")
    t = _T[min(len(values) - 1, len(_T)) - 1]
    return float(np.mean(values)), t * float(np.std(values, ddof=1)) / len(values) ** 0.5
