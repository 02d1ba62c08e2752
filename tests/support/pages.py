"""The project's pages and their code: fenced blocks, and running them one after another."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.support import keras_archives

import ganglion as gg
from ganglion import layers as L
from ganglion.cli.app import call

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language ("" for text that is not run) and where it starts."""

    language: str
    text: str
    where: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    starts = [(found, text[:found.start()].count("\n") + 1) for found in FENCE.finditer(text)]
    return [Block(found[1], found[2], f"{page.name}, line {line}") for found, line in starts]


OURS = "import sys; from ganglion.cli.app import call; sys.exit(call(sys.argv[1:]))"
"""The command line in a process of its own."""
PATHS = [str(Path(path).resolve()) for path in sys.path]
"""Where this process finds modules, whatever the working folder becomes."""


def run_blocks(page: Path) -> None:
    """Runs a page's blocks in the working folder, the Python ones in one namespace."""
    if page.name in PEERS:
        pytest.importorskip(PEERS[page.name])
    names: dict[str, object] = {}
    if page.name in PREPARED:
        names |= PREPARED[page.name]()
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, block.where, "exec"), names)
        elif block.language == "sh":
            run_lines(block)
        elif block.language == "c":
            save_c(block)


def save_c(block: Block) -> None:
    """Writes a block under the name in its first comment, for a later command of the page."""
    named = re.match(r"/\* (\w+\.c)\b", block.text)
    assert named, f"{block.where}: a block of C starts with a comment naming its file"
    Path(named[1]).write_text(block.text, encoding="utf-8")


def run_lines(block: Block) -> None:
    """A shell block: its lines in turn, those that end in & side by side until `wait`."""
    with ExitStack() as stack:
        beside: list[subprocess.Popen[bytes]] = []
        for line in block.text.splitlines():
            words = shlex.split(line, comments=True)
            if words[-1:] == ["&"]:
                assert words[0] == "ganglion", f"{block.where}: {line}"
                beside.append(stack.enter_context(subprocess.Popen(
                    [sys.executable, "-c", OURS, *words[1:-1]],
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(PATHS)})))
                stack.callback(beside[-1].kill)
            elif words == ["wait"]:
                assert [process.wait(120) for process in beside] == [0] * len(beside), block.where
            else:
                run_line(line, block.where)


def run_line(line: str, where: str) -> None:
    """One line of a shell block: our commands in this process, `make` without doing it."""
    words = shlex.split(line, comments=True)
    if not words:
        return
    if words[0] == "ganglion":
        assert call(words[1:]) == 0, f"{where}: {line}"
        return
    if words[0] == "make":
        if shutil.which("make") is None:
            pytest.skip("make is not installed")
        words = ["make", "--dry-run", "--directory", str(ROOT), *words[1:]]
    words[0] = sys.executable if words[0] == "python" else words[0]
    subprocess.run(words, check=True, capture_output=True)


def digits_28() -> tuple[np.ndarray, np.ndarray]:
    """200 real handwritten digits as [200, 28, 28, 1] in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    large = np.kron(images[:200].reshape(-1, 8, 8) / 16, np.ones((1, 3, 3)))
    return np.pad(large, ((0, 0), (2, 2), (2, 2)))[..., None].astype(np.float32), labels[:200]


def readme() -> Mapping[str, object]:
    """What the README speaks of as given: arrays for the Python example, files for the commands."""
    x, y = digits_28()
    np.savez("digits.npz", x=x[:160], y=y[:160], x_test=x[160:], y_test=y[160:])
    np.save("input.npy", x[:1])
    gg.save(gg.Sequential([gg.Input((28, 28, 1)), L.Conv2D(4, 3, activation="relu"), L.Flatten(),
                           L.Dense(10, activation="softmax")]), "net.onnx")
    keras_archives.archive(
        Path("net.keras"),
        keras_archives.sequential(
            keras_archives.layer("Flatten", "flatten"),
            keras_archives.layer("Dense", "dense", units=10, activation="softmax"),
            shape=(28, 28, 1)),
        keras_archives.hdf5({k: v / 28 for k, v in keras_archives.dense_weights(784, 10).items()}))
    return {"x": x[:160], "y": y[:160], "xv": x[160:], "yv": y[160:]}


def microcontrollers() -> Mapping[str, object]:
    """A network of digits."""
    gg.save(gg.Sequential([gg.Input((8, 8, 1)), L.Conv2D(4, 3, activation="relu"), L.Flatten(),
                           L.Dense(10, activation="softmax")], name="digits"), "digits.onnx")
    return {}


PEERS = {"pytorch.md": "torch"}
"""The package that a page's code needs, by the page's file name; its tests bear the marker."""

PREPARED = {"README.md": readme, "microcontrollers.md": microcontrollers}
"""What a page takes as given, prepared in the working folder, by the page's file name."""
