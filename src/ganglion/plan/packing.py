"""Constant operands: what they hold, packed for the variant that reads them."""

from collections.abc import Mapping

import numpy as np

from ganglion.errors import ModelError
from ganglion.kernels.registry import families
from ganglion.plan.lowerer import Draft
from ganglion.plan.types import Constant
from ganglion.plan.views import View


class Constants:
    """Constants by their bytes: equal ones are stored once."""

    def __init__(self) -> None:
        self.found: list[Constant] = []
        self._index: dict[tuple[str, bytes], int] = {}

    def add(self, constant: Constant) -> int:
        key = (constant.dtype, constant.data)
        if key not in self._index:
            self._index[key] = len(self.found)
            self.found.append(constant)
        return self._index[key]


def given(draft: Draft) -> dict[str, np.ndarray]:
    """A draft's constant operands by name, as the network holds them."""
    described = families()[draft.family].operands(draft.spec)
    return {o.name: contents(v, o.size) for o, v in zip(described, draft.operands)
            if o.role == "const"}


def packed(draft: Draft, spec: object, constants: Mapping[str, np.ndarray]
           ) -> dict[str, np.ndarray]:
    """Constants as the draft's variant wants them for `spec`."""
    pack = draft.variant.pack
    return dict(constants) if pack is None else pack(spec, dict(constants))


def contents(view: View, size: int) -> np.ndarray:
    """The first `size` elements of a constant. Raises ModelError for what is none."""
    if view.storage.array is None:
        raise ModelError(f"{view.storage.name!r} must be constant here")
    return view.storage.array[view.offset:view.offset + size]
