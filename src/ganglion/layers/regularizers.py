"""Penalties on weights, by Keras's names. A layer writes them on its weights for training to read.

`value.metadata_props["ganglion.regularizer"]` holds the JSON `{"l1": float, "l2": float}`; the
loss gains `l1 * sum(|w|) + l2 * sum(w^2)`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from ganglion.errors import ModelError


@dataclass(frozen=True)
class L1L2:
    """Adds `l1 * sum(|w|) + l2 * sum(w^2)` to the loss."""

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        for name, factor in (("l1", self.l1), ("l2", self.l2)):
            if not 0 <= factor < float("inf"):
                raise ModelError(f"regularizer: {name} must be a finite number >= 0, "
                                 f"found {factor}")

    def to_json(self) -> str:
        return json.dumps({"l1": float(self.l1), "l2": float(self.l2)})


def L1(l1: float = 0.01) -> L1L2:
    """Adds `l1 * sum(|w|)` to the loss."""
    return L1L2(l1=l1)


def L2(l2: float = 0.01) -> L1L2:
    """Adds `l2 * sum(w^2)` to the loss."""
    return L1L2(l2=l2)


_BY_NAME: dict[str, Callable[[], L1L2]] = {
    "l1": L1, "l2": L2, "l1_l2": lambda: L1L2(0.01, 0.01),
    "L1": L1, "L2": L2, "L1L2": lambda: L1L2(0.01, 0.01),
}


def get(spec: str | L1L2 | None) -> L1L2 | None:
    """The regularizer of a name; ModelError lists the names when there is none."""
    if spec is None or isinstance(spec, L1L2):
        return spec
    if spec not in _BY_NAME:
        raise ModelError(f"unknown regularizer {spec!r}; known: l1, l2, l1_l2, or L1(...), "
                         "L2(...), L1L2(...)")
    return _BY_NAME[spec]()
