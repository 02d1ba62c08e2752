"""From drafts to the Plan: results to their places, lives, offsets, packed constants."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.kernels.registry import families
from ganglion.ops import marks
from ganglion.ops.bindings import bindings, initial_value
from ganglion.ops.classes import class_names
from ganglion.plan.lowerer import Draft, Lowerer
from ganglion.plan.memory import Interval, assign_offsets
from ganglion.plan.packing import Constants, contents, given, packed
from ganglion.plan.split import divide
from ganglion.plan.types import (
    Plan,
    Port,
    Ref,
    StateTensor,
    Step,
    aligned,
    as_constant,
)
from ganglion.plan.views import Storage, View, dense_strides, row_major


def finish(lowerer: Lowerer, model: ir.Model, name: str, digest: str, cores: int = 1) -> Plan:
    """The Plan of what has been drafted, for so many cores. The same drafts give the same Plan."""
    bound = bindings(model)
    bound_inputs, bound_outputs = {b.input for b in bound}, {b.output for b in bound}
    inputs = [v for v in model.graph.inputs
              if v.name not in bound_inputs and v.const_value is None]
    outputs = [v for v in model.graph.outputs if v.name not in bound_outputs]
    named = {v.name: v for v in [*model.graph.inputs, *model.graph.outputs]}
    _return_outputs(lowerer, outputs)
    _return_state(lowerer, [(named[b.output], lowerer.views[named[b.input]]) for b in bound])
    merged = _share_in_place(lowerer.drafts)
    offsets, arena_bytes = _arena(lowerer.drafts, merged)
    state, state_bytes = _state(lowerer, model)
    constants = Constants()
    steps = tuple(_step(d, offsets, merged, state, constants) for d in lowerer.drafts)
    steps, worker_bytes = divide(lowerer.drafts, steps, constants.found, cores)
    isas = sorted({d.variant.isa.name for d in lowerer.drafts})
    return Plan(name, tuple(_port(v, model) for v in inputs),
                tuple(_port(v, model) for v in outputs), state, tuple(constants.found), steps,
                arena_bytes, state_bytes, tuple(isas), digest, worker_bytes=worker_bytes)


def _port(value: ir.Value, model: ir.Model) -> Port:
    if value.dtype is None or value.shape is None:
        raise ModelError(f"value {value.name!r} has no dtype or shape")
    shape = tuple(int(d) for d in value.shape)  # type: ignore[arg-type]
    scale = value.metadata_props.get(marks.SCALE)
    zero_point = value.metadata_props.get(marks.ZERO_POINT)
    default = value.metadata_props.get(marks.DEFAULT)
    limit = value.metadata_props.get(marks.LIMIT)
    return Port(str(value.name), str(value.dtype.numpy()), shape,
                None if scale is None else float(scale),
                None if zero_point is None else int(zero_point),
                None if default is None else float(default),
                None if limit is None else int(limit),
                class_names(model).get(str(value.name), ()))


def _accesses(draft: Draft) -> list[tuple[Storage, str]]:
    roles = [o.role for o in families()[draft.family].operands(draft.spec)]
    return [(v.storage, role) for v, role in zip(draft.operands, roles)]


def _return_outputs(lowerer: Lowerer, outputs: Sequence[ir.Value]) -> None:
    """Every output's elements end in the caller's array: written there where that is possible."""
    for index, value in enumerate(outputs):
        view = lowerer.view(value)
        storage = view.storage
        dense = view.dense_in(row_major(len(view.shape)))
        if storage.place == "arena" and view.whole() and dense:
            storage.place, storage.index = "output", index
            continue
        target = lowerer.buffer(str(value.name), view.dtype, view.shape)
        target.storage.place, target.storage.index = "output", index
        lowerer.copy(view, target, f"output {value.name}")


def _return_state(lowerer: Lowerer, pairs: Sequence[tuple[ir.Value, View]]) -> None:
    """Every bound output's elements end in its state tensor.

    Written there at once when nothing reads the old contents at or after the writing step, unless
    element by element in the same place; else computed aside and copied at the end.
    """
    late = []
    for value, home in pairs:
        view = lowerer.view(value)
        if view.storage is home.storage and view == home:
            continue
        if (view.storage.place == "arena" and view.whole() and view.lies_as(home)
                and _last_read_allows(lowerer.drafts, view.storage, home.storage)):
            view.storage.place, view.storage.index = "state", home.storage.index
        else:
            late.append((view, home))
    aside = []
    for view, home in late:
        if view.storage.place in ("state", "input"):
            copy = lowerer.buffer(f"{home.storage.name}_next", view.dtype, view.shape)
            lowerer.copy(view, copy)
            view = copy
        aside.append((view, home))
    for view, home in aside:
        lowerer.copy(view, home, f"state {home.storage.name}")


def _last_read_allows(drafts: Sequence[Draft], made: Storage, home: Storage) -> bool:
    writes = [i for i, d in enumerate(drafts)
              for s, role in _accesses(d) if s is made and role == "output"]
    for i, draft in enumerate(drafts):
        reads = [v for v, (s, role) in zip(draft.operands, _accesses(draft)) if s is home]
        if not reads:
            continue
        if i > writes[0]:
            return False
        if i == writes[0] and (len(writes) > 1 or not _in_place(draft, made, home)):
            return False
    return True


def _in_place(draft: Draft, made: Storage, home: Storage) -> bool:
    """Whether a step reads an element of `home` only before it writes that of `made`."""
    described = list(zip(families()[draft.family].operands(draft.spec), draft.operands))
    goal, view = next((o, v) for o, v in described if v.storage is made)
    return all((draft.family == "pointwise" or o.name in goal.alias) and v.lies_as(view)
               for o, v in described if v.storage is home)


def _share_in_place(drafts: Sequence[Draft]) -> dict[Storage, Storage]:
    """Results that take over the bytes of an operand which nobody reads afterwards."""
    last_use = {storage: i for i, draft in enumerate(drafts) for storage, _ in _accesses(draft)}
    merged: dict[Storage, Storage] = {}
    begun: set[Storage] = set()
    for i, draft in enumerate(drafts):
        described = families()[draft.family].operands(draft.spec)
        by_name = {o.name: v for o, v in zip(described, draft.operands)}
        claimed: set[Storage] = set()
        for o, view in zip(described, draft.operands):
            if o.role != "output" or view.storage.place != "arena" or view.storage in begun:
                continue
            begun.add(view.storage)
            for candidate in (by_name[name] for name in o.alias):
                root = _root(candidate.storage, merged)
                used_once = sum(v.storage is candidate.storage for v in draft.operands) == 1
                if (candidate.storage.place == "arena" and last_use[candidate.storage] == i
                        and root.nbytes == view.storage.nbytes and root not in claimed
                        and candidate.whole() and view.whole() and candidate.lies_as(view)
                        and used_once):
                    merged[view.storage] = root
                    claimed.add(root)
                    break
    return merged


def _root(storage: Storage, merged: dict[Storage, Storage]) -> Storage:
    while storage in merged:
        storage = merged[storage]
    return storage


def _arena(drafts: Sequence[Draft], merged: dict[Storage, Storage]
           ) -> tuple[dict[Storage, int], int]:
    lives: dict[Storage, list[int]] = {}
    for i, draft in enumerate(drafts):
        storages = [s for s, _ in _accesses(draft)]
        for storage in [*storages, *([draft.scratch] if draft.scratch else [])]:
            if storage.place == "arena":
                lives.setdefault(_root(storage, merged), []).append(i)
    order = list(lives)
    offsets, total = assign_offsets(
        [Interval(lives[s][0], lives[s][-1], s.nbytes) for s in order])
    return dict(zip(order, offsets)), total


def _state(lowerer: Lowerer, model: ir.Model) -> tuple[tuple[StateTensor, ...], int]:
    named = {v.name: v for v in model.graph.inputs}
    found, offset = [], 0
    for binding in bindings(model):
        view = lowerer.views[named[binding.input]]
        array = initial_value(model, binding).numpy()
        order = view.order() if view.strides != dense_strides(
            view.shape, row_major(len(view.shape))) else row_major(len(view.shape))
        data = as_constant(binding.input, np.ascontiguousarray(array.transpose(order))).data
        marked = named[binding.input].metadata_props
        found.append(StateTensor(binding.input, view.dtype, view.shape, order, offset, data,
                                 marked.get(marks.WEIGHT) == "true",
                                 marked.get(marks.STATISTIC) == "true"))
        offset += aligned(len(data))
    return tuple(found), offset


def _step(draft: Draft, offsets: dict[Storage, int], merged: dict[Storage, Storage],
          state: Sequence[StateTensor], constants: Constants) -> Step:
    described = families()[draft.family].operands(draft.spec)
    ready = packed(draft, draft.spec, given(draft))
    refs = []
    for o, view in zip(described, draft.operands):
        storage = _root(view.storage, merged)
        if storage.array is not None:
            array = ready[o.name] if o.name in ready else contents(view, o.size)
            refs.append(Ref("const", constants.add(as_constant(storage.name, array))))
            continue
        base = {"arena": offsets.get(storage, 0), "state": 0}.get(storage.place, 0)
        if storage.place == "state":
            base = state[storage.index].offset
        start = 0 if draft.family == "copy" else view.offset
        refs.append(Ref(storage.place, storage.index, base + start * storage.itemsize))
    scratch = Ref("arena", 0, offsets[draft.scratch]) if draft.scratch else None
    return Step(draft.node, draft.family, draft.variant.name, draft.spec, tuple(refs), scratch,
                families()[draft.family].macs(draft.spec))
