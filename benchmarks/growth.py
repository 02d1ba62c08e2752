"""How cost grows: width, depth, image side and batch of a small CNN doubled in turn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from benchmarks.cases import ready
from benchmarks.runtimes import Runtime
from benchmarks.timing import round_robin
from ganglion import layers as L


@dataclass(frozen=True)
class Shape:
    """`depth` convolutions 3x3 of `width` channels on a square image of `side`, `batch` rows."""

    width: int = 16
    depth: int = 4
    side: int = 16
    batch: int = 1


STEPS = 4


def network(shape: Shape) -> ir.Model:
    """The CNN of this shape."""
    body = [L.Conv2D(shape.width, 3, padding="same", activation="relu")
            for _ in range(shape.depth)]
    return L.Sequential([L.Input((shape.side, shape.side, 4)), *body, L.GlobalAveragePooling2D(),
                         L.Dense(10, activation="softmax")], name="growing")


def shapes() -> Iterator[tuple[str, Shape]]:
    """(what is doubled, shape), from the base shape on."""
    for dimension in ("width", "depth", "side", "batch"):
        for k in range(STEPS):
            base = getattr(Shape(), dimension)
            yield dimension, replace(Shape(), **{dimension: base << k})


def measure(installed: Sequence[Runtime], folder: Path, seconds: float) -> list[dict[str, object]]:
    """µs by runtime, and multiply-adds, for each shape."""
    found: list[dict[str, object]] = []
    for dimension, shape in shapes():
        name = f"growth {dimension} {getattr(shape, dimension)}"
        case = ready(name, network(shape), folder, False, rows=shape.batch)
        calls = {r.name: r.load(case.files[r.form], case.inputs).call
                 for r in installed if r.form in case.files}
        found.append({"dimension": dimension, "value": getattr(shape, dimension),
                      "macs": case.macs, "us": round_robin(calls, seconds / 2)})
    return found
