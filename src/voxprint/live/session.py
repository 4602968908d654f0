"""One side of one call, watched: chunks of sound in, events out.

What is heard is cut into blocks of a second and a half, each embedded once, so that a second of
sound costs the same at any time of a call. Until something is decided, blocks are looked at while
they fill, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from voxprint.audio.fbank import Float32
from voxprint.audio.quality import line_quality
from voxprint.audio.speech import Mask
from voxprint.audio.stream import Incoming
from voxprint.encoder.hearing import Heard, Hearing
from voxprint.score.sequential import ChangeTest
from voxprint.types import LiveDecision, LiveEvent, Look, Vector

#: Frames of a block, and at which it is looked at before it is full: the first one, and others.
BLOCK = 150
EARLY, HALF = (60, 90, 120), (75,)
#: Blocks that count at most: nine seconds tell as much as more would.
COUNTED = 6
#: The last words of a call are looked at where they have so many frames.
_LEAST = 30
_SECONDS_PER_FRAME = 0.01
#: A piece without net speech still has some weight among others, in seconds.
_LEAST_WEIGHT = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Speech that is judged together.

    Attributes:
        vector: embedding, float32, shape (dim,), unit length.
        speech_seconds: net speech.
    """

    vector: Vector
    speech_seconds: float

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Self:
        """Several pieces as one: their mean, weighed by net speech."""
        weights = np.array([max(each.speech_seconds, _LEAST_WEIGHT) for each in pieces])
        mean = weights @ np.stack([each.vector for each in pieces])
        return cls(
            vector=np.asarray(mean / np.linalg.norm(mean), np.float32),
            speech_seconds=float(sum(each.speech_seconds for each in pieces)),
        )


class Judge(Protocol):
    """Decides about one person: the SQL functions of extension ``voxprint``."""

    def look(
        self, probe: Piece, quality: dict[str, Any], *, decided: LiveDecision, changed: bool
    ) -> Look:
        """Judge what counts so far, and record what is decided anew.

        Raises:
            SpeakerNotFound: the person was forgotten meanwhile.
            DatabaseError: there is no answer.
        """


class Session:
    """A call that is watched. For one thread at a time.

    Args:
        judge: decides.
        incoming: makes samples of what comes.
        hearing: finds the speech in them.
        embed: embedding of frames that all count as speech.
        sample_rate: of the line, in Hz.
    """

    def __init__(
        self,
        judge: Judge,
        incoming: Incoming,
        hearing: Hearing,
        embed: Callable[[Float32], Vector],
        sample_rate: int,
    ) -> None:
        self._judge = judge
        self._incoming, self._hearing = incoming, hearing
        self._embed, self._rate = embed, sample_rate
        self._speech_seconds = 0.0
        # The block that fills, and how much of it was looked at.
        self._features: Float32 = np.empty((0, 0), np.float32)
        self._speech: Mask = np.empty(0, bool)
        self._looked_at = 0
        self._begin([])

    def feed(self, chunk: bytes | npt.ArrayLike) -> list[LiveEvent]:
        """The next sound of the call.

        Args:
            chunk: as :meth:`voxprint.audio.stream.Incoming.push` takes it.

        Returns:
            An event for each look that it brought; mostly none.

        Raises:
            UsageError, FailureToAcquire: the chunk is no sound; nothing of it was heard.
            SpeakerNotFound: the person was forgotten meanwhile.
            DatabaseError: the database does not answer.
        """
        return self._listen(self._hearing.push(self._incoming.push(chunk)))

    def finish(self) -> list[LiveEvent]:
        """The call has ended: what its last words say. Errors as those of :meth:`feed`."""
        events = self._listen(self._hearing.push(self._incoming.end()))
        events += self._listen(self._hearing.finish())
        last = len(self._features)
        if self._decided == "undecided" and last > self._looked_at and last >= _LEAST:
            events += self._look(last)
        return events

    def _begin(self, blocks: Sequence[Piece]) -> None:
        """Begin to test whose voice it is; these blocks of it were heard already."""
        self._decided: LiveDecision = "undecided"
        self._blocks: deque[Piece] = deque(blocks, maxlen=COUNTED)
        # Of the blocks, the last ones that may be of another voice.
        self._suspicious = 0
        self._change = ChangeTest()

    def _listen(self, heard: Heard) -> list[LiveEvent]:
        if not len(heard):
            return []
        self._speech_seconds += float(np.count_nonzero(heard.speech)) * _SECONDS_PER_FRAME
        parts = [self._features, heard.features] if len(self._features) else [heard.features]
        self._features = np.concatenate(parts)
        self._speech = np.concatenate([self._speech, heard.speech])
        events: list[LiveEvent] = []
        while (at := self._next_look()) <= len(self._features):
            events += self._look(at)
            if at == BLOCK:
                self._features, self._speech = self._features[at:], self._speech[at:]
                self._looked_at = 0
        return events

    def _next_look(self) -> int:
        """Frames of the block at which is looked next."""
        before = HALF if self._blocks else EARLY
        early = [at for at in before if at > self._looked_at]
        return early[0] if early and self._decided == "undecided" else BLOCK

    def _look(self, frames: int) -> list[LiveEvent]:
        """Judge what there is, with so many frames of the block that fills."""
        self._looked_at = frames
        piece = Piece(
            self._embed(self._features[:frames]),
            float(np.count_nonzero(self._speech[:frames])) * _SECONDS_PER_FRAME,
        )
        quality = line_quality(self._hearing.surroundings(), self._rate)
        events = []
        if self._decided != "undecided" and self._is_changed(piece, quality):
            events.append(self._event([piece], quality, changed=True))
            self._begin([*self._blocks][len(self._blocks) - self._suspicious :])
        counted = [*self._blocks, piece][-COUNTED:]
        events.append(self._event(counted, quality))
        if frames == BLOCK:
            self._blocks.append(piece)
        return events

    def _is_changed(self, piece: Piece, quality: dict[str, Any]) -> bool:
        """Whether a block is one too many that is not of the voice before."""
        look = self._judge.look(piece, quality, decided=self._decided, changed=False)
        if self._change.look(look.llr if self._decided == "accept" else -look.llr):
            return True
        # Where nothing speaks for a change any more, all of it is the same voice.
        grown = min(self._suspicious + 1, COUNTED - 1)
        self._suspicious = grown if self._change.evidence > 0 else 0
        return False

    def _event(
        self, pieces: Sequence[Piece], quality: dict[str, Any], *, changed: bool = False
    ) -> LiveEvent:
        watching = self._decided != "undecided"
        evidence = self._change.evidence if watching else None
        look = self._judge.look(Piece.of(pieces), quality, decided=self._decided, changed=changed)
        if not changed:
            self._decided = look.decision
        return LiveEvent(
            at=round(self._incoming.seconds, 3),
            speech_seconds=round(self._speech_seconds, 2),
            decision=look.decision,
            llr=look.llr,
            score=look.score,
            accept_llr=look.accept_llr,
            reject_llr=look.reject_llr,
            change_llr=evidence,
            reasons=look.reasons,
            decision_id=look.decision_id,
        )
