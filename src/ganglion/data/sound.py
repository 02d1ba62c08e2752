"""Sound from .wav files, by the standard library's `wave`, and its sampling rate changed."""

import io
import math
import wave
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ganglion.data.folders import Label, labelled_files
from ganglion.data.tables import Samples
from ganglion.errors import DataError
from ganglion.files import read_regular

ZERO_CROSSINGS, BETA = 24, 8.6
"""Half the length of the resampling filter, in zero crossings of its sinc, and the shape of its
Kaiser window: about 90 dB of attenuation (Kaiser 1974)."""

MAX_FILE_BYTES = 1 << 32
"""Largest .wav: its own lengths have 32 bits."""

BLOCK = 1 << 14
"""New samples made at a time: each takes a filter's length of memory until then."""


def load_wavs(folder: str | Path, rate: int, samples: int, *,
              label: Label | None = None) -> Samples:
    """Every .wav of a folder that has a sub-folder for each class.

    x float32 [rows, samples] from -1 to 1 at `rate` samples a second, several channels averaged;
    shorter sounds have zeros behind, longer ones lose their end. y: the number of the class.
    `label`: gives the class of a file instead of its sub-folder, for example
    `lambda path: path.name.split("_")[0]`. Raises DataError as `read_wav`.
    """
    if rate < 1 or samples < 1:
        raise DataError(f"load_wavs(rate={rate}, samples={samples}): expected numbers from 1 up")
    files, y, classes = labelled_files(Path(folder), {".wav"}, label)
    x = np.zeros((len(files), samples), np.float32)
    for row, path in zip(x, files):
        sound, found = read_wav(path)
        mono = resample(sound.mean(axis=1), found, rate)[:samples]
        row[:len(mono)] = mono
    return Samples(x, np.array(y), classes)


def read_wav(source: str | Path | BinaryIO) -> tuple[np.ndarray, int]:
    """(sound float32 [frames, channels] from -1 to 1, samples a second) of a .wav file.

    PCM of 8 (unsigned), 16, 24 or 32 bits, little-endian (Microsoft and IBM, Multimedia
    Programming Interface and Data Specifications 1.0, 1991). Raises DataError for anything else.
    """
    if isinstance(source, str | Path):
        whole, name = read_regular(Path(source), DataError, MAX_FILE_BYTES), str(source)
    else:
        whole, name = source.read(), "the file"
    try:
        with wave.open(io.BytesIO(whole), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            frames = file.getnframes()
            data = file.readframes(frames)
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: a seek past a chunk
        raise DataError(f"{name}: not a readable .wav ({error or 'cut short'}); expected PCM, "
                        "which sound editors write as 16-bit WAV") from error
    if width not in (1, 2, 3, 4) or not channels or not rate:
        raise DataError(f"{name}: {8 * width} bits, {channels} channels, {rate} Hz; expected 8, "
                        "16, 24 or 32 bits, at least one channel and a rate")
    if len(data) != frames * channels * width:
        raise DataError(f"{name}: announces {frames} frames of {channels * width} bytes but holds "
                        f"{len(data)} bytes; is it cut short?")
    return _floats(data, width).reshape(-1, channels), rate


def resample(sound: np.ndarray, found: int, wanted: int) -> np.ndarray:
    """A sound [samples] at `found` samples a second as float32 at `wanted`.

    Each new sample is the old ones weighted by a sinc under a Kaiser window, which cuts off at the
    lower of the two Nyquist frequencies (Smith, "Digital Audio Resampling", CCRMA 2002).
    """
    sound = np.asarray(sound, np.float32)
    if found == wanted:
        return sound
    if found <= 0 or wanted <= 0:
        raise DataError(f"resampling from {found} to {wanted} Hz; expected rates above 0")
    ratio = Fraction(wanted, found)
    cut = min(1.0, float(ratio))
    half = math.ceil(ZERO_CROSSINGS / cut)
    position = np.arange(math.ceil(len(sound) * ratio)) * ratio.denominator
    start, phase = np.divmod(position, ratio.numerator)
    taps = np.arange(-half + 1, half + 1)
    away = taps - np.arange(ratio.numerator)[:, None] / ratio.numerator
    kernel = cut * np.sinc(cut * away) * _kaiser(away / half)
    padded = np.pad(sound, half)
    made = np.empty(len(position), np.float32)
    for k in range(ratio.numerator):
        here = np.flatnonzero(phase == k)
        for part in (here[i:i + BLOCK] for i in range(0, len(here), BLOCK)):
            made[part] = padded[start[part, None] + taps + half] @ kernel[k]
    return made


def _kaiser(x: np.ndarray) -> np.ndarray:
    inside = np.sqrt(np.clip(1 - x * x, 0, None))
    return np.where(np.abs(x) < 1, np.i0(BETA * inside) / np.i0(BETA), 0.0)


def _floats(data: bytes, width: int) -> np.ndarray:
    """PCM as float32, the full scale of its width at 1."""
    if width == 1:
        return np.asarray((np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128)
    if width == 3:
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(parts), 4), np.uint8)
        wide[:, 1:] = parts
        data, width = wide.tobytes(), 4
    whole = np.frombuffer(data, f"<i{width}").astype(np.float64)
    return (whole / 2.0 ** (8 * width - 1)).astype(np.float32)
