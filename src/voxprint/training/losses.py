"""What a network is asked for: a teacher's embedding, or the speaker among those it knows.

Classification heads share one interface: a module from embeddings and labels to a loss. With
``theta`` the angle between an embedding and a speaker's weight, ``s`` the scale and ``m`` the
margin, the own speaker's logit is

=================  ==========================  ==============================================
``softmax``        ``w . x + b``               no margin, no normalisation
``l2_softmax``     ``w . (s x / |x|) + b``     Ranjan and others 2017, arXiv 1703.09507
``am_softmax``     ``s (cos theta - m)``       Wang and others 2018, arXiv 1801.05599
``aam_softmax``    ``s cos(theta + m)``        Deng and others 2019, ArcFace, arXiv 1801.07698
``sub_centre_aam`` the same, by the nearest    Deng and others 2020, Sub-center ArcFace
                   of several weights
=================  ==========================  ==============================================

Others' logits are without the margin.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxprint.errors import UsageError
from voxprint.training.config import HEADS


def distillation(student: Tensor, target: Tensor) -> Tensor:
    """One minus the cosine, averaged over the batch.

    Args:
        student: shape (batch, dim), of any length.
        target: shape (batch, dim), unit length.

    Returns:
        scalar in [0, 2].
    """
    return (1 - (functional.normalize(student.float()) * target).sum(1)).mean()


def contrastive(student: Tensor, target: Tensor, speaker: Tensor, scale: float = 30.0) -> Tensor:
    """How hard it is to find one's own target among those of other speakers.

    InfoNCE (van den Oord and others 2018, arXiv 1807.03748) with cosines; other targets of the
    same speaker are neither right nor wrong and stay out.

    Args:
        student: shape (batch, dim), of any length.
        target: shape (batch, dim), unit length; row i belongs to student i.
        speaker: int64, shape (batch,).
        scale: of cosines before the softmax.

    Returns:
        scalar, at least 0.
    """
    logits = scale * functional.normalize(student.float()) @ target.T
    same = speaker[:, None] == speaker[None, :]
    own = torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = logits.masked_fill(same & ~own, -math.inf)
    return functional.cross_entropy(logits, torch.arange(len(same), device=same.device))


def frame_error(student: Tensor, teacher: Tensor, known: Tensor) -> Tensor:
    """Squared difference of frames, over the squared length of the teacher's.

    Args:
        student, teacher: shape (batch, channels, frames).
        known: bool, shape (batch, frames): where the teacher has a frame.

    Returns:
        scalar, at least 0; 1 for a student that says nothing.
    """
    right = teacher.float()
    wrong = (student.float() - right).square().sum(1)
    return (wrong * known).sum() / (right.square().sum(1) * known).sum().clamp_min(1e-6)


class Classifier(nn.Module):
    """A head that knows ``speakers`` speakers, and its loss.

    Args:
        kind: one of ``HEADS``.
        dim: of the embeddings.
        speakers: that it tells apart.
        scale: ``s``; of no use to ``softmax``.
        margin: ``m``, radians for the angular ones; may be changed during training.
        centres: weights a speaker of ``sub_centre_aam``.
        seed: of the first weights.

    Raises:
        UsageError: an unknown kind, or a number out of range.
    """

    def __init__(
        self,
        kind: str,
        dim: int,
        speakers: int,
        *,
        scale: float = 30.0,
        margin: float = 0.2,
        centres: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if kind not in HEADS:
            raise UsageError(f"expected one of the heads {', '.join(HEADS)}, got {kind!r}")
        if speakers < 2 or scale <= 0 or not 0 <= margin < math.pi / 2:
            raise UsageError(
                "expected at least two speakers, a scale above 0 and a margin in [0, pi / 2), "
                f"got {speakers}, {scale} and {margin}"
            )
        self.kind, self.scale, self.margin = kind, scale, margin
        self._centres = centres if kind == "sub_centre_aam" else 1
        self.weight = nn.Parameter(torch.empty(speakers * self._centres, dim))
        nn.init.xavier_normal_(self.weight, generator=torch.Generator().manual_seed(seed))
        biased = kind in ("softmax", "l2_softmax")
        self.bias = nn.Parameter(torch.zeros(speakers)) if biased else None

    @torch.no_grad()
    def begin_with(self, means: Tensor) -> None:
        """Begin where the speakers are, in place of anywhere.

        Args:
            means: float32, shape (speakers, dim), of the embeddings of each.
        """
        self.weight.copy_(means.repeat_interleave(self._centres, 0))

    def logits(self, embedding: Tensor, speaker: Tensor | None = None) -> Tensor:
        """Shape (batch, speakers); with the margin where the right ``speaker`` is given."""
        x = embedding.float()
        if self.kind == "softmax":
            return functional.linear(x, self.weight, self.bias)
        x = functional.normalize(x)
        if self.kind == "l2_softmax":
            return functional.linear(self.scale * x, self.weight, self.bias)
        cosine = x @ functional.normalize(self.weight).T
        cosine = cosine.view(len(x), -1, self._centres).amax(-1)
        if speaker is None or not self.margin:
            return self.scale * cosine
        return self.scale * torch.where(
            functional.one_hot(speaker, cosine.shape[1]).bool(), self._with_margin(cosine), cosine
        )

    def _with_margin(self, cosine: Tensor) -> Tensor:
        if self.kind == "am_softmax":
            return cosine - self.margin
        sine = (1 - cosine.square()).clamp_min(1e-7).sqrt()
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        # Beyond pi - m the cosine would rise again; a line goes on falling.
        line = cosine - self.margin * math.sin(self.margin)
        return torch.where(cosine > -math.cos(self.margin), turned, line)

    def forward(self, embedding: Tensor, speaker: Tensor) -> Tensor:
        """Mean cross entropy.

        Args:
            embedding: shape (batch, dim), of any length.
            speaker: int64, shape (batch,).
        """
        return functional.cross_entropy(self.logits(embedding, speaker), speaker)
