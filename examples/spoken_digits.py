"""Which digit was spoken? A 1-D convolutional network over log-mel features.

    python -m examples.spoken_digits

Data: Free Spoken Digit Dataset (Jackson and others, CC BY-SA 4.0,
https://github.com/Jakobovski/free-spoken-digit-dataset): 3,000 recordings of six speakers at 8 kHz,
named `{digit}_{speaker}_{n}.wav`. Either the repository's folder `recordings`, or its files zipped
as fsdd_recordings.zip. The repository grows, so there is no one checksum and nothing is downloaded.

Its own split: n from 0 to 4 tests, the rest trains. Settings were chosen with n from 5 to 9 held
out of the training part (--select).
"""

import io
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

import ganglion as gg
from examples.common import accuracy, need, options, report
from ganglion import layers as L
from ganglion.data import GaussianNoise, RandomTimeShift, log_mel_spectrogram, read_wav

RATE, SAMPLES, BANDS, FLOOR = 8000, 6000, 32, 0.01
EPOCHS = 15


@dataclass(frozen=True)
class Digits:
    """Sounds [rows, SAMPLES], the digit spoken in each, and each one's number in its series."""

    sound: np.ndarray
    digit: np.ndarray
    number: np.ndarray


def load(folder: Path) -> Digits:
    """Every recording at the same loudness, cut or filled with zeros to SAMPLES (0.75 s)."""
    sounds, digits, numbers = [], [], []
    for name, data in _files(folder):
        sound, rate = read_wav(io.BytesIO(data))
        if rate != RATE:
            raise ValueError(f"{name}: {rate} Hz, expected {RATE}")
        digit, _, number = name.removesuffix(".wav").split("_")
        mono = sound[:SAMPLES, 0]
        sounds.append(np.pad(mono / np.abs(sound).max(), (0, SAMPLES - len(mono))))
        digits.append(int(digit))
        numbers.append(int(number))
    return Digits(np.array(sounds, np.float32), np.array(digits), np.array(numbers))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    packed = folder / "fsdd_recordings.zip"
    if packed.exists():
        with zipfile.ZipFile(packed) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".wav"):
                    yield Path(name).name, archive.read(name)
        return
    recordings = need(folder / "recordings",
                      "https://github.com/Jakobovski/free-spoken-digit-dataset")
    for path in sorted(recordings.glob("*.wav")):
        yield path.name, path.read_bytes()


def features(data: Digits, train: np.ndarray) -> np.ndarray:
    """float32 [rows, frames, BANDS], each band of mean 0 and deviation 1 over the rows `train`."""
    mels = log_mel_spectrogram(data.sound, RATE, bands=BANDS, floor=FLOOR)
    return (mels - mels[train].mean((0, 1))) / mels[train].std((0, 1))


def network(frames: int, seed: int) -> ir.Model:
    """Three convolutions over time, the strongest answer of each filter, ten digits."""
    def block(filters: int) -> list[L.Layer]:
        return [L.Conv1D(filters, 5, padding="same", use_bias=False), L.BatchNormalization(),
                L.ReLU()]
    return gg.Sequential([
        gg.Input((frames, BANDS)),
        *block(48), L.MaxPooling1D(2), *block(64), L.MaxPooling1D(2), *block(64),
        L.GlobalMaxPooling1D(), L.Dropout(0.3), L.Dense(10, activation="softmax"),
    ], name="spoken_digits", seed=seed)


def train(x: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> ir.Model:
    """The network, after sounds moved in time and made noisy anew in every epoch."""
    augment = [RandomTimeShift(0.1, "constant", float(x.min())), GaussianNoise(0.2)]
    net, _ = gg.fit(network(x.shape[1], seed), x, y, loss="sparse_categorical_crossentropy",
                    optimizer="adam", epochs=epochs, seed=seed, augment=augment)
    return net


def main() -> None:
    """Trains, tests and compiles as the command line asks."""
    chosen = options(__doc__, EPOCHS)
    data, start = load(chosen.data), time.perf_counter()
    learn, test = (data.number >= 5), (data.number < 5)
    if chosen.select:
        learn, test = (data.number >= 10), (data.number >= 5) & (data.number < 10)
    x = features(data, learn)
    net = train(x[learn], data.digit[learn], chosen.seed, chosen.epochs)
    found = accuracy(net, x[test], data.digit[test])
    report(net, x[test], [f"accuracy {found:.2%} on {test.sum()} recordings",
                          f"trained and tested in {time.perf_counter() - start:.1f} s"])


if __name__ == "__main__":
    main()
