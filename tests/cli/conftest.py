"""A small network, its data and its builds, made once; every test runs in a folder of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.cli import show
from ganglion.cli.app import call


@dataclass(frozen=True)
class Files:
    """What the commands are tried on. `net`: [n, 6, 6, 1] → 3 classes; `small`: its int8 form;
    `line`: [n, 2] → 1 number; `build`, `counter`: builds of `net` and of a streaming network."""

    net: Path
    small: Path
    line: Path
    npz: Path
    csv: Path
    build: Path
    counter: Path


@dataclass(frozen=True)
class Answer:
    """How a command ended, and what it wrote to standard output and standard error."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("cli")
    made = Files(*(folder / name for name in ("net.onnx", "small.onnx", "line.onnx", "data.npz",
                                              "line.csv", "build", "counter")))
    rng = np.random.default_rng(0)
    x, y = rng.random((40, 6, 6, 1), np.float32), rng.integers(0, 3, 40)
    net = gg.Sequential([gg.Input((6, 6, 1)), L.Conv2D(4, 3, activation="relu"), L.Flatten(),
                         L.Dense(3, activation="softmax")], name="tiny")
    gg.save(net, made.net)
    gg.save(gg.quantize(net, calibration=x), made.small)
    gg.save(gg.Sequential([gg.Input((2,)), L.Dense(1)], name="line"), made.line)
    np.savez(made.npz, x=x[:30], y=y[:30], x_test=x[30:], y_test=y[30:])
    pairs = rng.normal(size=(30, 2))
    made.csv.write_text("a,b,sum\n" + "".join(f"{a:.4f},{b:.4f},{a + b:.4f}\n" for a, b in pairs))
    gg.compile(net).save(made.build)
    counter = gg.Sequential([gg.Input((None, 2)), L.SimpleRNN(2, return_sequences=True)])
    gg.compile(counter, name="counter", streaming=True).save(made.counter)
    return made


@pytest.fixture
def ganglion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
             ) -> Callable[..., Answer]:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")  # the parser's own messages
    monkeypatch.setattr(show.console, "width", 200)

    def run(*words: object) -> Answer:
        capsys.readouterr()
        code = call([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return run
