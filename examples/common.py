"""What the examples share: where data lies, what they print, how a figure is chosen fairly."""

import argparse
import hashlib
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

import ganglion as gg
from ganglion.errors import DataError


def options(description: str | None, epochs: int) -> argparse.Namespace:
    """The command line that every example takes."""
    parser = argparse.ArgumentParser(description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=folder(),
                        help="the folder of the data; default: $GANGLION_DATA, or data/")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--select", action="store_true",
                        help="test on rows held out of the training part, as was done to choose "
                             "the settings; the test part stays unseen")
    return parser.parse_args()


def folder() -> Path:
    """Where data is looked for unless the command line says."""
    return Path(os.environ.get("GANGLION_DATA", "data"))


def need(path: Path, source: str) -> Path:
    """`path`, or a DataError that says where to get it."""
    if not path.exists():
        raise DataError(f"{path} is not there; get it from {source}, and name its folder with "
                        "--data or GANGLION_DATA")
    return path


def download(url: str, path: Path, sha256: str) -> Path:
    """`path`, fetched from `url` if it is not there; DataError for other bytes than expected."""
    if not path.exists():
        say(f"downloading {url}")
        with urllib.request.urlopen(url, timeout=60) as answer:
            data = answer.read()
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise DataError(f"{url} gave bytes with the SHA-256 {found}, expected {sha256}; fetch "
                            f"the file yourself and put it at {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return path


def held_out(y: np.ndarray, parts: int, seed: int = 0) -> np.ndarray:
    """For each row the part it belongs to, 0 to parts - 1; every class is spread over all."""
    order = np.lexsort((np.random.default_rng(seed).random(len(y)), y))
    part = np.empty(len(y), np.int64)
    part[order] = np.arange(len(y)) % parts
    return part


def accuracy(net: ir.Model, x: np.ndarray, y: np.ndarray) -> float:
    """The share of rows that the compiled network classifies correctly."""
    return gg.evaluate(net, x, y, metrics=["accuracy"])["accuracy"]


def report(net: ir.Model, x: np.ndarray, figures: Sequence[str]) -> None:
    """Prints the figures, then compiles the network to C and prints its size and speed."""
    built = gg.compile(net, calibration=x[:32])
    session = built.session()
    row = np.ascontiguousarray(x[:1])
    times = []
    for _ in range(500):
        start = time.perf_counter()
        session.run(row)
        times.append(time.perf_counter() - start)
    for figure in figures:
        say(figure)
    say(f"library {built.library_bytes:,} bytes, arena {built.arena_bytes:,} bytes, "
        f"{1e6 * float(np.median(times)):.1f} µs a call from Python")


def say(line: str) -> None:
    """One line on standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
