"""Samples -> embedding on one core, and what of it filterbank, network and the rest take."""

from __future__ import annotations

from functools import partial

import kaldi_native_fbank

from benchmarks.report import Row
from benchmarks.speech import RATE, Speech
from benchmarks.timing import in_turns, median, one_core
from voxprint.audio.fbank import fbank
from voxprint.encoder.embedder import Encoder

_SECONDS = (3, 10)
_PARTS = ("all", "fbank", "network")
_BAR = 0.025
#: Finding the speech and judging the quality, to embedding.
_BAR_BESIDE = 0.2


def run(*, quick: bool) -> list[Row]:
    """Real-time factors: seconds of one core for a second of audio."""
    rows = []
    speech = Speech(seed=1)
    with one_core():
        encoder = Encoder()
        for seconds in _SECONDS:
            samples = speech.samples(seconds)
            whole, copied = _kaldi_options(encoder), _kaldi_options(encoder)
            copied.frame_opts.frame_shift_ms = 1000.0 * seconds
            listed = samples.tolist()
            features = fbank(samples, encoder.spec.fbank)
            works = {
                "all": partial(encoder.embed_samples, samples, RATE),
                "network": partial(encoder.embed_features, features),
                "fbank": partial(fbank, samples, encoder.spec.fbank),
                "kaldi": partial(_kaldi, listed, whole),
                "copied": partial(_kaldi, listed, copied),
            }
            times = in_turns(works, rounds=5 if quick else 60)
            rows += _rows(seconds, times)
    return rows


def _rows(seconds: float, times: dict[str, list[float]]) -> list[Row]:
    whole, ours, network = (median(times[name]) for name in ("all", "fbank", "network"))
    beside = median(
        [(a - f - n) / (f + n) for a, f, n in zip(*(times[name] for name in _PARTS), strict=True)]
    )
    kaldi = [a - b for a, b in zip(times["kaldi"], times["copied"], strict=True)]
    ratio = median([a / b for a, b in zip(times["fbank"], kaldi, strict=True)])
    return [
        Row.at_most(f"{seconds} s: real-time factor", whole / seconds, _BAR, digits=4),
        Row.fact(f"{seconds} s: filterbank", 1000 * ours, "ms", 1),
        Row.fact(f"{seconds} s: network", 1000 * network, "ms", 1),
        Row.at_most(
            f"{seconds} s: speech detector and quality ÷ filterbank and network",
            beside,
            _BAR_BESIDE,
            digits=2,
        ),
        Row.at_most(f"{seconds} s: filterbank ÷ kaldi-native-fbank", ratio, 1.0, digits=2),
    ]


def _kaldi_options(encoder: Encoder) -> kaldi_native_fbank.FbankOptions:
    config = encoder.spec.fbank
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = config.sample_rate
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = config.mel_bins
    options.mel_opts.low_freq = config.low_hz
    options.mel_opts.high_freq = config.high_hz
    options.energy_floor = 0.0
    return options


def _kaldi(samples: list[float], options: kaldi_native_fbank.FbankOptions) -> None:
    """Compute the features and leave them there.

    Copying samples in and features out takes its Python binding longer than the features take
    its C++, so neither counts: samples come as the list that it copies fastest, and a run of
    one frame (a shift as long as the recording) tells how long that copy is.
    """
    extractor = kaldi_native_fbank.OnlineFbank(options)
    extractor.accept_waveform(RATE, samples)
    extractor.input_finished()
