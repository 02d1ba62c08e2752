"""A Plan as C11: one function a distinct kernel, one function that calls them in order."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
import numpy as np

from ganglion.emit.literals import bytes_literal
from ganglion.errors import ModelError
from ganglion.kernels.base import CTYPES, Family, render
from ganglion.kernels.ctext import C, code, joined, phrase, word
from ganglion.kernels.isa import ISAS
from ganglion.kernels.registry import families
from ganglion.kernels.source import prelude
from ganglion.plan.types import (
    ALIGNMENT,
    Constant,
    Entry,
    Piece,
    Plan,
    Port,
    Ref,
    StateTensor,
    Step,
)

DESCRIPTION_VERSION = 1
SHOWN_CLASSES = 100
"""Names of classes in a header's comment; the description holds all."""
"""Version of the description in the generated code."""

NOTHING = C("")


@dataclass(frozen=True)
class Call:
    """One line of a function: a kernel, its arguments as C, and what it computes; `pieces`: the
    calls that together do the same on several cores."""

    function: C
    arguments: tuple[C, ...]
    comment: C = NOTHING
    pieces: tuple["Call", ...] = ()

    @property
    def line(self) -> C:
        return code("{}({});", self.function, joined(", ", self.arguments))


@dataclass(frozen=True)
class Function:
    """One exported function: NAME_<name>. `places`: where its operands are; `pointers`: those of
    its caller that are aligned as their elements, and the elements' type."""

    name: C
    inputs: tuple[C, ...]
    outputs: tuple[C, ...]
    calls: tuple[Call, ...]
    places: frozenset[str]
    arena_bytes: int
    pointers: tuple[tuple[C, C], ...]


@dataclass(frozen=True)
class Stored:
    """A constant as the file declares it: `nbytes` bytes, or `count` elements of `ctype`."""

    comment: C
    ctype: C
    nbytes: int
    count: int
    literal: C


def emit(plan: Plan) -> dict[str, str]:
    """{"NAME.h": text, "NAME.c": text}. Pure: the same Plan gives the same bytes.

    Raises ModelError where the plan's name, or that of one of its functions, is no identifier.
    """
    name = _identifier(plan.name)
    kernels, functions = _functions(plan)
    description = json.dumps(describe(plan), separators=(",", ":"))
    values = {
        "plan": plan, "name": name, "digest": word(plan.digest), "alignment": ALIGNMENT,
        "kernels": kernels, "functions": functions,
        "prelude": prelude([ISAS[name] for name in plan.isas], "\n".join(kernels)),
        "constants": [_constant(c) for c in plan.constants],
        "state": [(t.offset, _kept(t)) for t in plan.state],
        "initial": [(i, t.offset, len(t.initial), bytes_literal(t.initial))
                    for i, t in enumerate(plan.state) if t.initial.strip(b"\0")],
        "description": bytes_literal(description.encode()),
        "state_at": C("state_at" if plan.state else "(char *)state"),
        "arena_at": C("arena_at" if functions[0].arena_bytes else "(char *)arena"),
    }
    return {f"{name}.h": _templates().get_template("header.h.j2").render(values),
            f"{name}.c": _templates().get_template("source.c.j2").render(values)}


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ganglion", "emit"), undefined=jinja2.StrictUndefined,
        variable_start_string="<<", variable_end_string=">>", block_start_string="<%",
        block_end_string="%>", comment_start_string="<#", comment_end_string="#>",
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
        finalize=lambda value: code("{}", value))


def _identifier(name: str) -> C:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise ModelError(f"{name!r} cannot be a name in C: expected letters, digits and "
                         "underscores, a letter first")
    return word(name)


def describe(plan: Plan) -> dict[str, object]:
    """What a caller must know, as JSON: names, types, shapes, scales, state, digest."""
    found: dict[str, object] = {
        "name": plan.name, "version": DESCRIPTION_VERSION, "digest": plan.digest,
        "inputs": [_port(p) for p in plan.inputs], "outputs": [_port(p) for p in plan.outputs],
        "state": [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape),
                   "order": list(t.order), "offset": t.offset,
                   **{role: True for role in ("weight", "statistic") if getattr(t, role)}}
                  for t in plan.state]}
    if plan.entries:
        found["entries"] = {e.name: {"inputs": [_port(p) for p in e.inputs],
                                     "outputs": [_port(p) for p in e.outputs],
                                     "arena_bytes": e.arena_bytes} for e in plan.entries}
    return found


def _port(port: Port) -> dict[str, object]:
    found: dict[str, object] = {"name": port.name, "dtype": port.dtype, "shape": list(port.shape)}
    if port.scale is not None:
        found |= {"scale": port.scale, "zero_point": port.zero_point or 0}
    if port.default is not None:
        found["default"] = port.default
    if port.limit is not None:
        found["limit"] = port.limit
    if port.classes:
        found["classes"] = list(port.classes)
    return found


def _kept(tensor: StateTensor) -> C:
    """A state tensor as the header's comment shows it."""
    rows = tensor.order == tuple(range(len(tensor.shape)))
    order = NOTHING if rows else code(", axes stored in the order {}", _sizes(tensor.order))
    return code("{}, {} {}{}{}", word(tensor.name), word(tensor.dtype), _sizes(tensor.shape),
                order, C(", a weight" if tensor.weight else ""))


def _constant(constant: Constant) -> Stored:
    size = len(constant.data)
    return Stored(word(constant.name), word(CTYPES[constant.dtype]), size + 1,
                  size // constant.itemsize, bytes_literal(constant.data))


def _sizes(sizes: Sequence[int]) -> C:
    return code("[{}]", joined(", ", [code("{}", size) for size in sizes]))


def _functions(plan: Plan) -> tuple[list[C], list[Function]]:
    """The text of every distinct kernel, and the functions. Equal kernels are written once."""
    names: dict[tuple[str, object], C] = {}
    texts: list[C] = []
    run = Entry("run", plan.inputs, plan.outputs, plan.steps, plan.arena_bytes)
    return texts, [
        Function(_identifier(e.name), tuple(map(_described, e.inputs)),
                 tuple(map(_described, e.outputs)), tuple(_calls(e.steps, names, texts)),
                 frozenset(r.place for s in e.steps for r in (*s.operands, s.scratch)
                           if r is not None), e.arena_bytes, _pointers(e))
        for e in (run, *plan.entries)]


def _pointers(entry: Entry) -> tuple[tuple[C, C], ...]:
    return tuple((code("{}[{}]", table, index), word(CTYPES[port.dtype]))
                 for table, ports in ((C("inputs"), entry.inputs), (C("outputs"), entry.outputs))
                 for index, port in enumerate(ports) if _itemsize(port) > 1)


def _itemsize(port: Port) -> int:
    return int(np.dtype(port.dtype).itemsize)


def _calls(steps: Sequence[Step], names: dict[tuple[str, object], C],
           texts: list[C]) -> Iterator[Call]:
    """The calls of one function; kernels that are new go into `names` and `texts`."""
    for step in steps:
        family = families()[step.family]
        variant = family.variant(step.variant)
        for spec in (step.spec, *(p.spec for p in step.pieces)):
            if (step.variant, spec) not in names:
                name = code("k{}_{}", len(names), word(step.variant))
                names[step.variant, spec] = name
                texts.append(render(family, variant, spec, name))
        scratch = () if step.scratch is None else (code("arena_at + {}", step.scratch.offset),)
        yield Call(
            names[step.variant, step.spec], _arguments(family, step) + scratch, phrase(step.node),
            tuple(Call(names[step.variant, p.spec], _arguments(family, p) + (
                (C("scratch"),) if variant.scratch_bytes(p.spec) else ())) for p in step.pieces))


def _described(port: Port) -> C:
    """A port as the header's comment shows it."""
    scaled = NOTHING if port.scale is None else code(
        ", real = (q - {}) * {}", port.zero_point or 0, port.scale)
    usual = NOTHING if port.default is None else code(", usually {:g}", port.default)
    size = _itemsize(port)
    place = code(", at a multiple of {} bytes", size) if size > 1 else NOTHING
    return code("{}, {} {}{}{}{}{}", word(port.name), word(port.dtype), _sizes(port.shape), scaled,
                usual, place, _classes(port.classes))


def _classes(names: Sequence[str]) -> C:
    """The first names of an output's classes, as the header's comment shows them."""
    if not names:
        return NOTHING
    shown = [code("{} {}", k, word(name)) for k, name in enumerate(names[:SHOWN_CLASSES])]
    more = code(" and {} more", len(names) - len(shown)) if len(names) > len(shown) else NOTHING
    return code(", classes {}{}", joined(", ", shown), more)


def _arguments(family: Family[Any], step: Step | Piece) -> tuple[C, ...]:
    return tuple(_address(ref, word(CTYPES[o.dtype]), o.role == "output")
                 for o, ref in zip(family.operands(step.spec), step.operands))


def _address(ref: Ref, ctype: C, written: bool) -> C:
    """C for a pointer to the operand."""
    const = C("" if written else "const ")
    if ref.place == "const":
        if ref.offset:
            return code("(const {} *)(const void *)(const_{}.bytes + {})", ctype, ref.index,
                        ref.offset)
        return code("const_{}.as_type", ref.index)
    if ref.place in ("arena", "state"):
        return code("({}{} *)({}_at + {})", const, ctype, word(ref.place), ref.offset)
    table = C("inputs" if ref.place == "input" else "outputs")
    if not ref.offset:
        return code("({}{} *){}[{}]", const, ctype, table, ref.index)
    return code("({}{} *)(({}char *){}[{}] + {})", const, ctype, const, table, ref.index,
                ref.offset)
