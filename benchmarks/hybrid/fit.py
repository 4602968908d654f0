"""Fit the two-covariance model of simulated speakers to real voices.

Run as ``python -m benchmarks.hybrid.fit --corpora DIR``; it writes ``fitted.npz`` beside this
file, so that the benchmark itself needs neither recordings nor an encoder, and prints how far the
model's cosines are from the real ones.

How it is estimated, in the space of unit embeddings:

- Only corpora whose licence lets a derived model be shipped, and only speakers' own recordings:
  the two LibriSpeech sets count as one population.
- *Within*: the unbiased covariance of each speaker with at least five recordings, all such
  speakers alike. Nearly every speaker here was recorded in one session, so this is how much a
  voice differs from utterance to utterance, not from day to day; word lists of one-second clips
  are among them and widen it. Shrunk (see ``shrunk``).
- *Between*: the covariance of speaker means around the mean of their own corpus (a corpus differs
  from another in language and channel, and one database holds one kind), of all corpora with at
  least ten speakers, shrunk in the same way, less the share of the within covariance that is in a
  mean of n recordings; negative eigenvalues are set to zero.
- *Mean*: towards the mean of the speaker means, as long as the mean of one corpus is (what the
  speakers of one database have in common; the mean over several corpora is shorter, since
  languages and channels cancel).

Draws are scaled to length 1 afterwards, as embeddings are, which takes a little out of both
covariances. A Gaussian has no hard speakers: real cosines of one speaker spread wider.
``check`` prints simulated beside real ones.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy import default_corpora
from benchmarks.hybrid.model import FITTED, TwoCovariance
from benchmarks.report import say
from benchmarks.vectors import vectors
from voxprint.encoder.embedder import Encoder

Rows = npt.NDArray[np.float64]

#: Folders of the corpora, and the population that each is of.
POPULATIONS = {
    "speechocean762": "speechocean762",
    "librispeech_test_other": "librispeech",
    "librispeech_train_clean_100": "librispeech",
    "dspspeech20": "dspspeech20",
    "arabic_speech_commands": "arabic_speech_commands",
    "aishell_samples": "aishell_samples",
}
_LEAST_RECORDINGS = 5
_LEAST_SPEAKERS = 10


def main() -> None:
    """Embed, fit, check, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpora", type=Path, default=default_corpora())
    parser.add_argument("--cache", type=Path, required=True, help="folder for the embeddings")
    given = parser.parse_args()
    os.nice(10)
    populations = real_speakers(given.corpora / "speech", given.cache)
    model = fit(populations)
    model.save(FITTED)
    print("\n".join(check(model, populations)))


def real_speakers(speech: Path, cache: Path) -> dict[str, list[Rows]]:
    """Unit embeddings of every speaker, shape (recordings, dim), by population."""
    files = [
        str(path.relative_to(speech)) for name in POPULATIONS for path in speech.glob(f"{name}/*/*")
    ]
    heard = vectors(Encoder(), speech, files, seconds=None, cache=cache)
    by_speaker: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in sorted(files):
        folder, speaker, _ = name.split("/")
        by_speaker[folder, speaker].append(name)
    populations: dict[str, list[Rows]] = defaultdict(list)
    for (folder, _), names in by_speaker.items():
        unit = heard.of(names)
        unit = unit[np.isfinite(unit[:, 0])]
        if len(unit):
            populations[POPULATIONS[folder]].append(unit)
    return populations


def fit(populations: dict[str, list[Rows]]) -> TwoCovariance:
    """The model of these speakers; see the top of this file."""
    repeated = [s for p in populations.values() for s in p if len(s) >= _LEAST_RECORDINGS]
    # Scaled so that the plain mean of outer products is the mean of the unbiased covariances.
    deviations = np.concatenate([(s - s.mean(0)) * np.sqrt(len(s) / (len(s) - 1)) for s in repeated])
    weights = np.concatenate([np.full(len(s), 1 / len(s)) for s in repeated])
    within = shrunk(deviations, weights)

    offsets, inverse, length, counted = [], [], 0.0, 0
    for speakers in populations.values():
        if len(speakers) >= _LEAST_SPEAKERS:
            means = np.stack([s.mean(0) for s in speakers])
            share = np.sqrt(len(means) / (len(means) - 1))
            offsets.append((means - means.mean(0)) * share)
            inverse += [1 / len(s) for s in speakers]
            # Less what chance adds to the length of a mean of so few speakers.
            chance = np.sum(offsets[-1] ** 2) / len(means) ** 2
            length += len(means) * (np.sum(means.mean(0) ** 2) - chance)
            counted += len(means)
    around = np.concatenate(offsets)
    spread = shrunk(around, np.ones(len(around)))
    values, axes = np.linalg.eigh(spread - within * np.mean(inverse))
    between = (axes * np.maximum(values, 0)) @ axes.T
    mean = np.stack([s.mean(0) for p in populations.values() for s in p]).mean(0)
    mean *= np.sqrt(length / counted) / np.linalg.norm(mean)
    return TwoCovariance(mean, between, within)


def shrunk(rows: Rows, weights: Rows) -> Rows:
    """Weighted second moment of centred rows, shrunk towards a multiple of the identity.

    Few rows spread the eigenvalues too far. Ledoit and Wolf (2004, lemma 3.3) estimate by how much;
    their estimator then shrinks further, to the least expected error, which would make voices
    more alike in every direction than they are. Here the eigenvalues keep their estimated spread.

    Args:
        rows: shape (n, dim).
        weights: shape (n,), positive; only their ratios count.
    """
    share = weights / weights.sum()
    sample = (rows * share[:, None]).T @ rows
    dim = len(sample)
    level = np.trace(sample) / dim
    distance = np.sum((sample - level * np.eye(dim)) ** 2)
    # Sum of |x xT - S|^2 with squared weights: the variance of the sample moment.
    lengths = np.sum(rows**2, axis=1)
    along = np.einsum("ij,jk,ik->i", rows, sample, rows)
    error = np.sum(share**2 * (lengths**2 - 2 * along + np.sum(sample**2)))
    intensity = 1 - np.sqrt(max(0.0, 1 - float(error / distance)))
    say(f"shrinkage {intensity:.3f}")
    return (1 - intensity) * sample + intensity * level * np.eye(dim)


def check(model: TwoCovariance, populations: dict[str, list[Rows]]) -> list[str]:
    """Cosines of real pairs beside those of simulated ones, as Markdown lines."""
    lines = ["| | same speaker | different speakers |", "|---|---|---|"]
    for name, speakers in populations.items():
        if len(speakers) >= _LEAST_SPEAKERS:
            lines.append(f"| {name} | {' | '.join(_cosines(speakers))} |")
    rows, _ = model.draw(speakers=2000, utterances=5, seed=1)
    simulated = [rows[i : i + 5].astype(np.float64) for i in range(0, len(rows), 5)]
    lines.append(f"| simulated | {' | '.join(_cosines(simulated[:400]))} |")
    for what, matrix in (("between", model.between), ("within", model.within)):
        values = np.linalg.eigvalsh(matrix)
        rank = values.sum() ** 2 / np.sum(values**2)
        lines.append(f"- {what}: trace {values.sum():.3f}, effective rank {rank:.0f}")
    return lines


def _cosines(speakers: list[Rows]) -> list[str]:
    speakers = [s[:20] for s in speakers]
    owner = np.repeat(np.arange(len(speakers)), [len(s) for s in speakers])
    unit = np.concatenate(speakers)
    cosines = unit @ unit.T
    same = owner[:, None] == owner[None]
    upper = np.triu(np.ones_like(same), 1).astype(bool)
    pairs = (cosines[same & upper], cosines[~same & upper])
    return [
        f"{p.mean():.3f} ± {p.std():.3f} (1 % {np.percentile(p, 1):.2f}, "
        f"99 % {np.percentile(p, 99):.2f})"
        for p in pairs
    ]


if __name__ == "__main__":
    main()
