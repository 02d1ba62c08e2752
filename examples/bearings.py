"""Which of nine faults has a bearing? Trained at three motor speeds, tested at the fourth.

    python -m examples.bearings

Data: Case Western Reserve University Bearing Data Center
(https://engineering.case.edu/bearingdatacenter), drive-end accelerometer at 12 kHz, faults of 7,
14 and 21 mil in ball, inner race and outer race (at 6 o'clock), four loads. Either the center's
.mat files under their numbers (105.mat, …) in one folder, or cwru_drive_end.npz with an array
`{rpm}_{fault}_{mils}_DE12` for each. The center publishes no checksums, so nothing is downloaded.

A window of 2,048 samples (0.17 s) becomes the logarithm of its power spectrum less its mean, so
loudness does not count; a 1-D network convolves over frequency. Test windows do not overlap and
are of recordings that were not trained on. Settings were chosen with 1730 rpm left out altogether,
training on two of the other speeds and testing on the third (--select).
"""

import time
from pathlib import Path

import numpy as np
import onnx_ir as ir

import ganglion as gg
from examples.common import accuracy, need, options, report
from ganglion import layers as L
from ganglion.data import GaussianNoise
from ganglion.data.features import hann

SPEEDS = (1797, 1772, 1750, 1730)
NUMBERS = {"B_7": 118, "B_14": 185, "B_21": 222, "IR_7": 105, "IR_14": 169, "IR_21": 209,
           "OR6_7": 130, "OR6_14": 197, "OR6_21": 234}
"""Fault -> the center's number of its recording at 1797 rpm; the other speeds follow in order."""

EPOCHS, WINDOW, STEP = 8, 2048, 512

Recordings = dict[tuple[int, str], np.ndarray]


def load(folder: Path) -> Recordings:
    """(rpm, fault) -> the recording."""
    packed = folder / "cwru_drive_end.npz"
    if packed.exists():
        with np.load(packed, allow_pickle=False) as file:
            return {(rpm, fault): file[f"{rpm}_{fault}_DE12"]
                    for rpm in SPEEDS for fault in NUMBERS}
    return {(rpm, fault): _mat(folder, first + k)
            for fault, first in NUMBERS.items() for k, rpm in enumerate(SPEEDS)}


def _mat(folder: Path, number: int) -> np.ndarray:
    from scipy.io import loadmat

    path = need(folder / f"{number}.mat", "https://engineering.case.edu/bearingdatacenter")
    return loadmat(path)[f"X{number:03d}_DE_time"][:, 0].astype(np.float32)


def windows(data: Recordings, rpm: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """(spectra, fault numbers) of the windows that begin every `step` samples."""
    x, y = [], []
    for k, fault in enumerate(NUMBERS):
        cut = np.lib.stride_tricks.sliding_window_view(data[rpm, fault], WINDOW)[::step]
        x.append(spectra(cut))
        y.append(np.full(len(cut), k))
    return np.concatenate(x), np.concatenate(y)


def spectra(cut: np.ndarray) -> np.ndarray:
    """float32 [rows, 1024, 1]: the log power at 5.9 Hz to 6 kHz, its mean taken off, halved to
    have a deviation of about 1."""
    power = np.abs(np.fft.rfft(cut * hann(WINDOW))[:, 1:]) ** 2
    logs = np.log(power + 1e-8)
    return ((logs - logs.mean(axis=1, keepdims=True)) / 2).astype(np.float32)[..., None]


def network(seed: int) -> ir.Model:
    """Three convolutions over frequency, then nine faults."""
    return gg.Sequential([
        gg.Input((WINDOW // 2, 1)),
        L.Conv1D(16, 9, strides=2, padding="same", activation="relu"), L.MaxPooling1D(2),
        L.Conv1D(32, 5, padding="same", activation="relu"), L.MaxPooling1D(4),
        L.Conv1D(32, 5, padding="same", activation="relu"), L.MaxPooling1D(4),
        L.Flatten(), L.Dropout(0.3), L.Dense(len(NUMBERS), activation="softmax"),
    ], name="bearings", seed=seed)


def train(data: Recordings, speeds: list[int], seed: int, epochs: int) -> ir.Model:
    """The network after the windows of these speeds, overlapping by three quarters."""
    x, y = map(np.concatenate, zip(*(windows(data, rpm, STEP) for rpm in speeds)))
    net, _ = gg.fit(network(seed), x, y, loss="sparse_categorical_crossentropy",
                    optimizer="adam", epochs=epochs, seed=seed, augment=GaussianNoise(0.2))
    return net


def cases(select: bool) -> list[tuple[list[int], int]]:
    """(speeds to train at, speed to test at), each in turn left out."""
    among = SPEEDS[:3] if select else SPEEDS
    return [([s for s in among if s != left], left) for left in among]


def main() -> None:
    """Trains, tests and compiles as the command line asks."""
    chosen = options(__doc__, EPOCHS)
    data, figures, start = load(chosen.data), [], time.perf_counter()
    for speeds, left in cases(chosen.select):
        net = train(data, speeds, chosen.seed, chosen.epochs)
        x, y = windows(data, left, WINDOW)
        figures.append(f"accuracy {accuracy(net, x, y):.2%} on {len(y)} windows at {left} rpm, "
                       f"trained at {speeds}")
    report(net, x, [*figures, f"trained and tested in {time.perf_counter() - start:.1f} s"])


if __name__ == "__main__":
    main()
