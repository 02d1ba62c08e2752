"""Several functions over one state: a network that learns, and the same network that answers."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from ganglion.errors import ModelError
from ganglion.plan.types import Constant, Entry, Plan, Ref, StateTensor, Step


def join(plan: Plan, name: str, other: Plan) -> Plan:
    """`plan` with one more function `name`, which does what `other` does on the state of `plan`.

    Every state tensor of `other` must be one of `plan`, equal in name, dtype, shape and order.
    Equal constants are stored once. `arena_bytes` becomes the most that any function needs.
    Raises ModelError for a tensor that does not fit.
    """
    home = {t.name: t for t in plan.state}
    for tensor in other.state:
        _require_same(home.get(tensor.name), tensor, name)
    constants = list(plan.constants)
    index = {(c.dtype, c.data): i for i, c in enumerate(constants)}

    def moved(ref: Ref) -> Ref:
        if ref.place == "const":
            return replace(ref, index=_stored(constants, index, other.constants[ref.index]))
        if ref.place == "state":
            old = other.state[ref.index]
            return replace(ref, index=plan.state.index(home[old.name]),
                           offset=ref.offset - old.offset + home[old.name].offset)
        return ref

    entry = Entry(name, other.inputs, other.outputs, tuple(_moved(s, moved) for s in other.steps),
                  other.arena_bytes)
    both = hashlib.sha256(f"{plan.digest} {name} {other.digest}".encode()).hexdigest()
    return replace(plan, constants=tuple(constants), entries=(*plan.entries, entry),
                   arena_bytes=max(plan.arena_bytes, other.arena_bytes),
                   isas=tuple(sorted({*plan.isas, *other.isas})), digest=both)


def _moved(step: Step, moved: Callable[[Ref], Ref]) -> Step:
    return replace(step, operands=tuple(moved(r) for r in step.operands))


def _stored(constants: list[Constant], index: dict[tuple[str, bytes], int],
            constant: Constant) -> int:
    key = (constant.dtype, constant.data)
    if key not in index:
        index[key] = len(constants)
        constants.append(constant)
    return index[key]


def _require_same(home: StateTensor | None, tensor: StateTensor, name: str) -> None:
    if home is None:
        raise ModelError(f"function {name!r} reads the state {tensor.name!r}, which the network "
                         "does not keep; bind it in the first Model too")
    mine = (home.dtype, home.shape, home.order)
    if mine != (tensor.dtype, tensor.shape, tensor.order):
        raise ModelError(
            f"function {name!r} wants the state {tensor.name!r} as {tensor.dtype} "
            f"{list(tensor.shape)} in the order {list(tensor.order)}, the network keeps it as "
            f"{home.dtype} {list(home.shape)} in the order {list(home.order)}")
