"""Several processes save builds into one folder while others open it: each sees one of them."""

import multiprocessing
from pathlib import Path

import numpy as np

import ganglion as gg
from ganglion import layers as L
from ganglion.artifact import Artifact

ROUNDS, WIDTHS = 25, (2, 3)


def build(width: int) -> Artifact:
    net = gg.Sequential([gg.Input((4,)), L.Dense(width)], name="line")
    return gg.compile(net, isas=("scalar",), check=False)


def save(built: Artifact, folder: Path) -> None:
    for _ in range(ROUNDS):
        built.save(folder)


def test_an_opener_sees_one_build_whole_while_others_save(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    builds = [build(width) for width in WIDTHS]
    builds[0].save(folder)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=save, args=(b, folder)) for b in builds]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(gg.Session(folder).run(np.ones((1, 4), np.float32)).shape[1])
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen <= set(WIDTHS)
    assert seen
    assert [p.name for p in tmp_path.iterdir()] == ["build"]
