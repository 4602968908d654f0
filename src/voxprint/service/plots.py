"""An evaluation as pictures: DET curves and histograms of scores.

Drawn on figures of their own, without pyplot: nothing global is touched, and no window opens.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from voxprint.errors import UsageError, VoxprintError
from voxprint.score.curve import Det, det
from voxprint.score.metrics import eer_of
from voxprint.service.measured import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = npt.NDArray[np.float64]

#: Okabe and Ito's colours, which most colour-blind people tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", ":", "-.")
_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
_LOWEST, _HIGHEST = 0.0005, 0.6
#: Points of a curve that are drawn, from either end.
_POINTS = 1000
_BINS = 80
_PANELS_ACROSS = 3


def plot(evaluation: Evaluation, folder: str | os.PathLike[str]) -> list[Path]:
    """Draw an evaluation: ``det.png``, ``scores.png`` and, where there are LLRs, ``llrs.png``.

    Args:
        evaluation: of one condition or several; each gets a curve and a panel.
        folder: made where it does not exist.

    Returns:
        The files written.

    Raises:
        UsageError: the folder cannot be written.
        VoxprintError: the extra ``evaluate`` is not installed.
    """
    needs_matplotlib()
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        return [_saved(figure, target / name) for name, figure in _figures(evaluation)]
    except OSError as error:
        raise UsageError(f"cannot write plots to {target}: {error.strerror}") from error


def plot_det(
    path: str | os.PathLike[str], title: str, curves: Sequence[tuple[str, Rows, Rows]]
) -> None:
    """Draw DET curves of named scores into one PNG.

    Args:
        path: the file.
        title: what the trials are.
        curves: name, target and nontarget scores of each.

    Raises:
        UsageError: the file cannot be written.
        VoxprintError: the extra ``evaluate`` is not installed.
    """
    needs_matplotlib()
    try:
        _saved(_det_figure(title, "", curves, []), Path(path))
    except OSError as error:
        raise UsageError(f"cannot write the plot to {path}: {error.strerror}") from error


def needs_matplotlib() -> None:
    """Say what to install where matplotlib is missing.

    Raises:
        VoxprintError: it is.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise VoxprintError(
            "expected matplotlib for plots, it is not installed",
            hint='pip install "voxprint[evaluate]"',
        ) from error


def _figures(evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
    same = evaluation.same
    scores = [(each.condition, each.scores) for each in evaluation.scored]
    llrs = [(each.condition, each.llrs) for each in evaluation.scored if each.llrs is not None]
    curves = [(name, *_kinds(values, same)) for name, values in scores]
    calibrated = [(name, *_kinds(values, same)) for name, values in llrs]
    what = "cosine" if evaluation.model else "score"
    yield "det.png", _det_figure(evaluation.trials, what, curves, calibrated)
    yield "scores.png", _histograms(evaluation.trials, what, curves, evaluation.threshold)
    if calibrated:
        name = "log-likelihood ratio (natural log)"
        yield "llrs.png", _histograms(evaluation.trials, name, calibrated, None)


def _kinds(values: Rows, same: npt.NDArray[np.bool_]) -> tuple[Rows, Rows]:
    scored = np.isfinite(values)
    return values[scored & same], values[scored & ~same]


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=150, format="png")
    return path


def _det_figure(
    title: str,
    what: str,
    curves: Sequence[tuple[str, Rows, Rows]],
    calibrated: Sequence[tuple[str, Rows, Rows]],
) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.add_subplot()
    families = [(curves, what if calibrated else "")] + [(calibrated, "LLR")] * bool(calibrated)
    for style, (family, kind) in enumerate(families):
        for i, (condition, target, nontarget) in enumerate(family):
            curve = det(target, nontarget)
            name = " ".join(part for part in (condition, kind) if part)
            axes.plot(
                *_probits(curve),
                color=_COLOURS[i % len(_COLOURS)],
                linestyle=_LINES[(i // len(_COLOURS) + 2 * style) % len(_LINES)],
                label=f"{name or 'scores'}: EER {100 * eer_of(curve):.2f} %",
            )
    ends = _probit([_LOWEST, _HIGHEST])
    axes.plot(ends, ends, color="0.7", linewidth=0.8)  # where both rates are equal
    for axis, name in ((axes.xaxis, "false accepts"), (axes.yaxis, "misses")):
        axis.set_ticks(_probit(_TICKS), [f"{100 * tick:g}" for tick in _TICKS])
        axis.set_label_text(f"{name} in %")
    axes.set(xlim=ends, ylim=ends, title=f"Detection error trade-off: {title}")
    axes.grid(color="0.9")
    axes.legend(loc="upper right")
    return figure


def _probits(curve: Det) -> tuple[Rows, Rows]:
    """A thinned curve on probit axes; a rate of none is drawn as half an error."""
    last = curve.thresholds.size - 1
    near = np.unique(np.geomspace(1, last + 1, _POINTS).astype(np.intp)) - 1
    few = curve.at(np.unique(np.concatenate([near, last - near])))
    p_fa = np.maximum(few.p_fa, 0.5 / few.n_nontarget)
    p_miss = np.maximum(few.p_miss, 0.5 / few.n_target)
    return _probit(p_fa), _probit(p_miss)


def _probit(rates: Sequence[float] | Rows) -> Rows:
    inverse = NormalDist().inv_cdf
    return np.array([inverse(min(max(rate, 1e-9), 1 - 1e-9)) for rate in rates])


def _histograms(
    title: str,
    what: str,
    curves: Sequence[tuple[str, Rows, Rows]],
    threshold: float | None,
) -> Figure:
    from matplotlib.figure import Figure

    across = min(_PANELS_ACROSS, len(curves))
    down = -(-len(curves) // across)
    figure = Figure(figsize=(1 + 4 * across, 0.6 + 2.8 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
    low = min(float(min(t.min(), n.min())) for _, t, n in curves)
    high = max(float(max(t.max(), n.max())) for _, t, n in curves)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    for panel, (condition, target, nontarget) in zip(panels, curves, strict=False):
        _panel(panel, edges, target, nontarget, threshold)
        panel.set_title(condition)
    for panel in panels[len(curves) :]:
        panel.set_visible(False)
    panels[0].legend()
    figure.suptitle(title)
    figure.supxlabel(what)
    figure.supylabel("density")
    return figure


def _panel(
    panel: Axes, edges: Rows, target: Rows, nontarget: Rows, threshold: float | None
) -> None:
    for i, (values, name) in enumerate(((target, "same"), (nontarget, "different"))):
        label = f"{name} speaker ({values.size})"
        panel.hist(values, edges.tolist(), density=True, alpha=0.6, color=_COLOURS[i], label=label)
    if threshold is not None:
        panel.axvline(threshold, color="0.3", linestyle="--", linewidth=1, label="threshold")
    panel.set_yticks([])
    panel.tick_params(labelbottom=True)
