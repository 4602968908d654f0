"""Synthetic voices for the demonstration, spoken by espeak-ng through ctypes.

They are not people. They show that the plumbing works where no recordings are at hand; how
well voxprint tells real people apart is measured on real speech (``docs/results.md``).
"""

from __future__ import annotations

import ctypes
import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from voxprint.errors import VoxprintError

# espeak-ng's speak_lib.h: AUDIO_OUTPUT_SYNCHRONOUS, espeakINITIALIZE_DONT_EXIT, espeakCHARS_UTF8,
# espeak_PARAMETER.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_UTF8 = 1
_RATE, _PITCH = 1, 3

_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True, slots=True)
class Voice:
    """One synthetic speaker: an espeak-ng voice with its own pitch (0-100) and words per minute."""

    speaker: str
    voice: str
    pitch: int
    rate: int


#: Chosen from 76 for being far apart to the encoder: any two stay below a cosine of 0.4.
VOICES = (
    Voice("Amy", "en+Alicia", 35, 160),
    Voice("Boris", "en+quincy", 35, 160),
    Voice("Chen", "cmn+klatt2", 65, 160),
    Voice("Dora", "en+grandma", 35, 160),
    Voice("Emil", "en+victor", 65, 160),
    Voice("Fei", "cmn+f4", 65, 160),
)

SENTENCES_EN = (
    "Good morning, this is the insurance desk, how may I help you today?",
    "Your policy was renewed in March and covers the whole family.",
    "Please tell me the last four digits of your contract number.",
    "I will send you the new offer by letter before the end of the week.",
    "The weather was fine, so we walked along the river until it grew dark.",
    "She bought seven yellow apples and a bottle of water at the market.",
)
SENTENCES_CMN = (
    "早上好，这里是保险公司，请问有什么可以帮您？",
    "您的保单已经在三月份续签，保障全家人。",
    "请告诉我您的合同号码的最后四位数字。",
    "我会在本周结束之前把新的方案寄给您。",
    "今天天气很好，我们沿着河边一直走到天黑。",
    "她在市场买了七个黄苹果和一瓶水。",
)


class Synthesizer:
    """espeak-ng. Use as ``synthesizer().utterances(voice)``.

    Raises:
        VoxprintError: the extra ``demo`` is not installed, or espeak-ng does not start.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise VoxprintError(
                "the demonstration without recordings needs espeak-ng, which is not installed",
                hint="pip install 'voxprint[demo]', or give recordings: voxprint demo --voices DIR",
            ) from None
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DO_NOT_EXIT)
        if self.sample_rate <= 0:
            raise VoxprintError(f"espeak-ng does not start with its data in {data.decode()}")
        self._pcm = bytearray()
        # Kept as an attribute: espeak-ng calls it later, and ctypes holds no reference.
        self._callback = _CALLBACK(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        if samples and count > 0:
            self._pcm += ctypes.string_at(samples, 2 * count)
        return 0

    def say(self, voice: Voice, text: str) -> bytes:
        """Return ``text`` in ``voice`` as the bytes of a 16-bit mono WAV file."""
        if self._library.espeak_SetVoiceByName(voice.voice.encode()) != 0:
            raise VoxprintError(f"this espeak-ng has no voice {voice.voice!r}")
        self._library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        self._library.espeak_SetParameter(_RATE, voice.rate, 0)
        self._pcm.clear()
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.sample_rate)
            file.writeframes(bytes(self._pcm))
        return buffer.getvalue()

    def utterances(self, voice: Voice) -> Iterator[bytes]:
        """Yield one WAV a sentence, six different sentences in the voice's own language."""
        sentences = SENTENCES_CMN if voice.voice.startswith("cmn") else SENTENCES_EN
        for sentence in sentences:
            yield self.say(voice, sentence)


@cache
def synthesizer() -> Synthesizer:
    """The only one of this process: espeak-ng keeps its state in global variables."""
    return Synthesizer()
