"""What happens to a voice before it is heard: rooms, noise, microphones, telephones.

All on the device, in batches. What befalls which crop is drawn on the CPU, so that nothing waits
for the device; every damage is then done to the rows it befalls only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from voxprint.training.config import Augment
from voxprint.types import Samples

_RATE = 16000
_FRAME = 400
_SPEECH_RANGE = 10**-3.0
_PACKET = 320
#: Kinds of noise, and how often each is drawn.
_KINDS = ("recorded", "babble", "white", "pink")
_SHARES = (0.5, 0.25, 0.08, 0.17)
_VOICES = (3, 8)
#: There are few recordings of noise; at other speeds they are others.
_NOISE_SPEEDS = (0.75, 1.33)

Rows = npt.NDArray[np.int64]
#: Gives so many crops of speech, of so many samples: shape (n, samples).
Voices = Callable[[int, int], Tensor]


class Augmenter:
    """Damages crops.

    Args:
        settings: how likely each damage is.
        noises: recorded ones, float32 at 16 kHz; without any, noise is pink.
        device: where crops lie.
        seed: of all that is drawn.
    """

    def __init__(
        self, settings: Augment, noises: Sequence[Samples], device: torch.device, seed: int
    ) -> None:
        self._set = settings
        self._device = device
        self.random = np.random.default_rng([seed, 2])
        self.torch_random = torch.Generator(device).manual_seed(seed)
        lengths = np.array([len(each) for each in noises], np.int64)
        self._noise_length = lengths
        self._noise_start = np.cumsum(lengths) - lengths
        whole = np.concatenate(noises) if len(noises) else np.empty(0, np.float32)
        self._noise = torch.from_numpy(whole.astype(np.float32)).to(device)

    def __call__(self, x: Tensor, clean: npt.NDArray[np.bool_], voices: Voices) -> Tensor:
        """Damaged copies.

        Args:
            x: float32, shape (batch, n), in [-1, 1].
            clean: bool, shape (batch,): only their gain changes.
            voices: where babble comes from.

        Returns:
            float32, shape (batch, n), in [-1, 1].
        """
        x = x.clone()
        for share, damage in (
            (self._set.reverb, self._reverb),
            (self._set.noise, lambda rows: self._noisy(rows, voices)),
            (self._set.tilt, self._tilted),
            (self._set.clip, self._clipped),
            (self._set.telephone, self._telephone),
            (self._set.loss, self._lossy),
        ):
            rows = self._befallen(share, ~clean)
            if len(rows):
                at = self._there(rows)
                x[at] = damage(x[at])
        return self._level(x)

    # -- damages, each to all rows of shape (rows, n) -----------------------------------------

    def _reverb(self, x: Tensor) -> Tensor:
        rt60 = self._uniform(len(x), *self._set.rt60)
        direct_db = self._uniform(len(x), 0.0, 12.0)
        return reverberant(x, rt60, direct_db, self.torch_random)

    def _noisy(self, x: Tensor, voices: Voices) -> Tensor:
        return mixed(x, self._noise_like(x, voices), self._uniform(len(x), *self._set.snr))

    def _noise_like(self, x: Tensor, voices: Voices) -> Tensor:
        count, length = x.shape
        kind = self.random.choice(len(_KINDS), count, p=_SHARES)
        if not len(self._noise):
            kind[kind == 0] = 3
        out = torch.empty_like(x)
        for number, make in enumerate(
            (
                self._recorded,
                lambda n, size: self._babble(n, size, voices),
                self._white,
                lambda n, size: pink(self._white(n, size)),
            )
        ):
            rows = np.flatnonzero(kind == number)
            if len(rows):
                out[self._there(rows)] = make(len(rows), length)
        return out

    def _recorded(self, count: int, length: int) -> Tensor:
        """Pieces of the recordings, faster or slower than they were."""
        which = self.random.integers(len(self._noise_length), size=count)
        size = self._there(self._noise_length[which])[:, None]
        start = self._there(self.random.random(count).astype(np.float32))[:, None] * size
        steps = torch.arange(length, device=self._device)
        at = start + self._uniform(count, *_NOISE_SPEEDS)[:, None] * steps
        before = at.long()
        share = at - before
        first = self._there(self._noise_start[which])[:, None]
        left, right = (self._noise[first + each % size] for each in (before, before + 1))
        return torch.lerp(left, right, share)

    def _babble(self, count: int, length: int, voices: Voices) -> Tensor:
        many = int(self.random.integers(*_VOICES))
        crops = voices(count * many, length)
        level = crops.square().mean(1, keepdim=True).sqrt().clamp_min(1e-4)
        return (crops / level).view(count, many, length).sum(1)

    def _white(self, count: int, length: int) -> Tensor:
        return torch.randn(count, length, generator=self.torch_random, device=self._device)

    def _tilted(self, x: Tensor) -> Tensor:
        """A straight slope over octaves, and a few smooth bumps."""
        bins = x.shape[1] // 2 + 1
        hertz = torch.arange(bins, device=x.device) * (_RATE / x.shape[1])
        octaves = (hertz.clamp_min(50) / 1000).log2()
        slope = self._uniform(len(x), -3.0, 3.0)[:, None]
        curve = slope * octaves
        for _ in range(3):
            centre = self._uniform(len(x), -3.0, 3.0)[:, None]
            height = self._uniform(len(x), -8.0, 8.0)[:, None]
            curve = curve + height * torch.exp(-((octaves - centre).square()))
        return filtered(x, 10 ** (curve.clamp(-24, 24) / 20))

    def _clipped(self, x: Tensor) -> Tensor:
        share = self._uniform(len(x), 0.005, 0.08)
        ranked = x.abs().sort(1).values
        at = ((1 - share) * (x.shape[1] - 1)).long()[:, None]
        limit = ranked.gather(1, at).clamp_min(1e-5)
        return torch.minimum(torch.maximum(x, -limit), limit)

    def _telephone(self, x: Tensor) -> Tensor:
        level = 10 ** (self._uniform(len(x), -30.0, -1.0) / 20)
        peak = x.abs().amax(1).clamp_min(1e-5)
        scale = (level / peak)[:, None]
        low, high = self._uniform(len(x), 30.0, 320.0), self._uniform(len(x), 3200.0, 3950.0)
        a_law = torch.from_numpy(self.random.random(len(x)) < 0.5).to(x.device)
        return telephone(x * scale, low, high, a_law) / scale

    def _lossy(self, x: Tensor) -> Tensor:
        """Packets are lost in bursts; half of the receivers repeat the last one."""
        packets = -(-x.shape[1] // _PACKET)
        rate = self.random.uniform(0.02, 0.15, (len(x), 1))
        lost = self.random.random((len(x), packets)) < rate
        again = np.roll(lost, 1, axis=1) & (self.random.random(lost.shape) < 0.4)
        lost = torch.from_numpy(lost | again).to(x.device)
        repeats = torch.from_numpy(self.random.random(len(x)) < 0.5).to(x.device)
        return packets_lost(x, lost, repeats)

    # -- drawing -------------------------------------------------------------------------------

    def _befallen(self, share: float, may: npt.NDArray[np.bool_]) -> Rows:
        return np.flatnonzero(may & (self.random.random(len(may)) < share))

    def _uniform(self, count: int, low: float, high: float) -> Tensor:
        values = self.random.uniform(low, high, count).astype(np.float32)
        return self._there(values)

    def _there(self, values: npt.NDArray[np.generic]) -> Tensor:
        there = torch.from_numpy(values)
        if self._device.type == "cuda":
            return there.pin_memory().to(self._device, non_blocking=True)
        return there

    def _level(self, x: Tensor) -> Tensor:
        peak = x.abs().amax(1).clamp_min(1e-5)
        gain = 10 ** (self._uniform(len(x), *self._set.gain) / 20)
        return x * (gain / peak)[:, None]


def speech_power(x: Tensor) -> Tensor:
    """Mean power of the frames of 25 ms that are at most 30 dB below the loudest, a row.

    As ``voxprint.audio.degrade`` measures it, so that an SNR means the same in both.
    """
    frames = x[:, : x.shape[1] // _FRAME * _FRAME].unflatten(1, (-1, _FRAME))
    power = frames.square().mean(-1)
    loud = power >= power.amax(1, keepdim=True) * _SPEECH_RANGE
    return (power * loud).sum(1) / loud.sum(1)


def mixed(x: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Speech and noise that lies so many dB below it.

    Args:
        x, noise: shape (rows, n).
        snr_db: shape (rows,).
    """
    power = noise.square().mean(1).clamp_min(1e-12)
    gain = (speech_power(x) / power / 10 ** (snr_db / 10)).sqrt()
    return x + gain[:, None] * noise


def pink(white: Tensor) -> Tensor:
    """Noise with as much power in every octave, from white noise of the same shape."""
    bins = white.shape[1] // 2 + 1
    falling = torch.arange(bins, device=white.device).clamp_min(1).rsqrt()
    return filtered(white, falling)


def filtered(x: Tensor, response: Tensor) -> Tensor:
    """Multiplied in frequency; ``response`` has shape (n / 2 + 1,) or (rows, n / 2 + 1)."""
    return torch.fft.irfft(torch.fft.rfft(x) * response, n=x.shape[1])


def reverberant(
    x: Tensor, rt60: Tensor, direct_db: Tensor, random: torch.Generator | None = None
) -> Tensor:
    """Heard in a room whose response is noise that dies away; the direct sound stays in place.

    Polack's model (1988): white Gaussian noise under an exponential envelope.

    Args:
        x: shape (rows, n).
        rt60: seconds until the room is 60 dB quieter, shape (rows,).
        direct_db: energy of the direct sound over that of the room, shape (rows,).
        random: where the noise comes from.
    """
    count, length = x.shape
    tail = min(length, round(float(0.8 * _RATE)))
    time = torch.arange(1, tail + 1, device=x.device) / _RATE
    noise = torch.randn(count, tail, generator=random, device=x.device)
    room = noise * torch.exp(-6.9078 * time / rt60[:, None])
    energy = room.square().sum(1, keepdim=True)
    room = room / (energy * 10 ** (direct_db[:, None] / 10)).sqrt()
    size = 1 << (length + tail).bit_length()
    response = torch.cat([torch.ones(count, 1, device=x.device), room], 1)
    heard = torch.fft.rfft(x, size) * torch.fft.rfft(response, size)
    return torch.fft.irfft(heard, size)[:, :length]


def telephone(x: Tensor, low: Tensor, high: Tensor, a_law: Tensor) -> Tensor:
    """A band of speech at 8 kHz through G.711 and back at 16 kHz.

    Args:
        x: shape (rows, n), n divisible by 4, in [-1, 1].
        low, high: edges of the band in Hz, shape (rows,).
        a_law: bool, shape (rows,): A-law in place of µ-law.
    """
    length = x.shape[1]
    spectrum = torch.fft.rfft(x)[:, : length // 4 + 1]
    hertz = torch.arange(spectrum.shape[1], device=x.device) * (_RATE / length)
    rising = torch.sigmoid((hertz - low[:, None]) / 20)
    falling = torch.sigmoid((high[:, None] - hertz) / 40)
    slow = torch.fft.irfft(spectrum * rising * falling / 2, n=length // 2).clamp(-1, 1)
    heard = torch.where(a_law[:, None], companded_a(slow), companded_mu(slow))
    back = torch.fft.rfft(heard) * 2
    return torch.fft.irfft(functional.pad(back, (0, length // 2 - length // 4)), n=length)


def companded_mu(x: Tensor) -> Tensor:
    """Through µ-law, 8 bits (ITU-T G.711, its continuous form): x in [-1, 1]."""
    squeezed = torch.log1p(255 * x.abs()) / np.log(256)
    steps = (squeezed * 127.5).floor().add(0.5).div(127.5).clamp_max(1)
    return x.sign() * torch.expm1(steps * np.log(256)) / 255


def companded_a(x: Tensor) -> Tensor:
    """Through A-law, 8 bits (ITU-T G.711, its continuous form): x in [-1, 1]."""
    a = 87.6
    size = x.abs()
    whole = 1 + np.log(a)
    squeezed = torch.where(
        size < 1 / a, a * size / whole, (1 + (a * size).clamp_min(1e-9).log()) / whole
    )
    steps = (squeezed * 128).floor().clamp_max(127).add(0.5).div(128)
    wide = torch.where(steps < 1 / whole, steps * whole / a, torch.exp(steps * whole - 1) / a)
    return x.sign() * wide


def packets_lost(x: Tensor, lost: Tensor, repeats: Tensor) -> Tensor:
    """Packets of 20 ms that never came: silence, or the last one that did.

    Args:
        x: shape (rows, n).
        lost: bool, shape (rows, ceil(n / 320)).
        repeats: bool, shape (rows,).
    """
    length = x.shape[1]
    packets = functional.pad(x, (0, -length % _PACKET)).unflatten(1, (-1, _PACKET))
    numbers = torch.arange(packets.shape[1], device=x.device).expand_as(lost)
    last = torch.where(lost, -1, numbers).cummax(1).values
    came = last >= 0
    last = torch.where(repeats[:, None], last.clamp_min(0), numbers)
    heard = packets.gather(1, last[..., None].expand_as(packets))
    silent = lost & ~(repeats[:, None] & came)
    return (heard * ~silent[..., None]).flatten(1)[:, :length]
