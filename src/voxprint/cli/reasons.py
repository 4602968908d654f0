"""The machine-readable reasons of results, in words for people."""

from __future__ import annotations

from collections.abc import Iterable

_WORDS = {
    # of a recording
    "too_short": "too little speech",
    "noisy": "much noise",
    "clipped": "overdriven",
    "narrowband": "telephone bandwidth",
    "more_than_one_speaker": "seems to hold more than one speaker",
    "mostly_silence": "mostly silence",
    # of a comparison
    "uncalibrated": "no calibration for this encoder: its fixed score threshold decides",
    "fixed_threshold": "by the score threshold given, not by the calibration",
    "enrolment_too_short": "too little speech of this person is enrolled",
    "no_cohort": "nobody else is enrolled to compare with",
    "small_cohort": "few others are enrolled to compare with",
    "ambiguous": "somebody else is just as alike",
    "another_is_nearer": "another person is more alike",
    "on_watchlist": "on a watchlist",
    "disagrees_with_enrolled": "unlike what is enrolled of this person",
}


def in_words(reasons: Iterable[str], speech_seconds: float | None = None) -> str:
    """Return reasons as one clause, parted by semicolons; empty where there is none.

    Args:
        reasons: of a result.
        speech_seconds: net speech of the recording; None where it is not known.

    >>> in_words(["short", "noisy"], 0.62)
    'only 0.6 s of speech; much noise'
    """
    return "; ".join(_phrase(reason, speech_seconds) for reason in reasons)


def _phrase(reason: str, speech_seconds: float | None) -> str:
    if reason == "short":
        return (
            "little speech" if speech_seconds is None else f"only {speech_seconds:.1f} s of speech"
        )
    return _WORDS.get(reason, reason.replace("_", " "))
