"""Decisions while evidence still comes: as early as the asked rates allow, and when it turns.

*Who is it?* Wald's sequential probability ratio test (Sequential Tests of Statistical Hypotheses,
The Annals of Mathematical Statistics 16, 1945): go on listening while the LLR of all that was heard
lies between two bounds. *Is it somebody else now?* Page's cumulative sum (Continuous Inspection
Schemes, Biometrika 41, 1954): the evidence for a change since the moment that speaks most for one.

The SQL function ``voxprint._bounds`` is the first one's twin; a test compares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from voxprint.errors import UsageError
from voxprint.score.calibration import SMALL_COHORT

#: What looks at steps of speech, and LLRs that are not perfect, cost: moves of both bounds, fitted
#: on calls by ``benchmarks.live`` (a constant, as Siegmund, Sequential Analysis, 1985, has it).
ACCEPT_MOVED, REJECT_MOVED = -0.6, 0.6
#: Evidence of a change that is taken for one, the most that one block may add to it or take away,
#: and what is expected of a block whose LLR is nought.
CHANGE_LLR, MOST_OF_A_BLOCK, CHANGE_MOVED = 7.0, 4.0, 1.0
#: Less speech than this decides nothing, in seconds: an LLR of so little is not to be believed.
LEAST_TO_DECIDE = 0.4
#: What few people tell of strangers is taken with caution: seven to one, at least.
_CAUTIOUS_LLR = 2.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Between which LLRs one goes on listening.

    Attributes:
        accept: LLR from which on it is the person.
        reject: LLR up to which it is not.
    """

    accept: float
    reject: float

    @classmethod
    def of(cls, far: float, frr: float, cohort: int) -> Self:
        """Bounds for both rates.

        Args:
            far: share of other people who may be accepted, in (0, 1).
            frr: share of the person's own calls that may be rejected, in (0, 1).
            cohort: number of people that the LLR was normalised by.

        Raises:
            UsageError: a rate is out of range, or both together are 1 or more.
        """
        for name, rate in (("far", far), ("frr", frr)):
            if not 0 < rate < 1:
                raise UsageError(f"{name} is a rate above 0 and below 1, got {rate}")
        if far + frr >= 1:
            raise UsageError(f"far and frr are less than 1 together, got {far} and {frr}")
        least = _CAUTIOUS_LLR if cohort < SMALL_COHORT else 0.0
        return cls(
            accept=max(math.log((1 - frr) / far) + ACCEPT_MOVED, least),
            reject=min(math.log(frr / (1 - far)) + REJECT_MOVED, 0.0),
        )


@dataclass(slots=True)
class ChangeTest:
    """Whether another voice has taken over, by the speech since it may have.

    Attributes:
        evidence: log-likelihood ratio of a change at the moment that speaks most for it against
            none at all, >= 0.
    """

    evidence: float = 0.0

    def look(self, llr: float) -> bool:
        """Count in one more block of speech.

        Args:
            llr: of the block being of the voice before, natural log: of the person, where they
                were accepted, of somebody else, where they were rejected.

        Returns:
            Whether that is enough: false alarms come no oftener than every ``exp(CHANGE_LLR)``
            blocks or so (Lorden, Procedures for Reacting to a Change in Distribution, 1971).
        """
        step = max(-MOST_OF_A_BLOCK, min(MOST_OF_A_BLOCK, CHANGE_MOVED - llr))
        self.evidence = max(0.0, self.evidence + step)
        return self.evidence >= CHANGE_LLR
