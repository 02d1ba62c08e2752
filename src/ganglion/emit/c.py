"""A Plan as C11: one function a distinct kernel, one function that calls them in order."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from ganglion.emit.literals import bytes_literal
from ganglion.kernels.base import CTYPES, Family, render
from ganglion.kernels.isa import ISAS
from ganglion.kernels.registry import families
from ganglion.kernels.source import prelude
from ganglion.plan.types import ALIGNMENT, Entry, Piece, Plan, Port, Ref, StateTensor, Step

DESCRIPTION_VERSION = 1
"""Version of the description in the generated code."""


@dataclass(frozen=True)
class Call:
    """One line of a function: a kernel, its arguments as C, and what it computes; `pieces`: the
    calls that together do the same on several cores."""

    function: str
    arguments: tuple[str, ...]
    comment: str = ""
    pieces: tuple["Call", ...] = ()


@dataclass(frozen=True)
class Function:
    """One exported function: NAME_<name>. `places`: where its operands are."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    calls: tuple[Call, ...]
    places: frozenset[str]
    arena_bytes: int


def emit(plan: Plan) -> dict[str, str]:
    """{"NAME.h": text, "NAME.c": text}. Pure: the same Plan gives the same bytes."""
    kernels, functions = _functions(plan)
    description = json.dumps(describe(plan), separators=(",", ":"))
    values = {
        "plan": plan, "kernels": kernels, "functions": functions, "alignment": ALIGNMENT,
        "prelude": prelude([ISAS[name] for name in plan.isas], "\n".join(kernels)),
        "ctypes": CTYPES, "bytes_literal": bytes_literal,
        "description": bytes_literal(description.encode()),
        "zero": b"\0", "described": _described, "stored": _stored,
    }
    return {f"{plan.name}.h": _templates().get_template("header.h.j2").render(values),
            f"{plan.name}.c": _templates().get_template("source.c.j2").render(values)}


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ganglion", "emit"), undefined=jinja2.StrictUndefined,
        variable_start_string="<<", variable_end_string=">>", block_start_string="<%",
        block_end_string="%>", comment_start_string="<#", comment_end_string="#>",
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)


def describe(plan: Plan) -> dict[str, object]:
    """What a caller must know, as JSON: names, types, shapes, scales, state, digest."""
    found: dict[str, object] = {
        "name": plan.name, "version": DESCRIPTION_VERSION, "digest": plan.digest,
        "inputs": [_port(p) for p in plan.inputs], "outputs": [_port(p) for p in plan.outputs],
        "state": [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape),
                   "order": list(t.order), "offset": t.offset, **({"weight": True} if t.weight
                                                                  else {})} for t in plan.state]}
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
    return found


def _stored(tensor: StateTensor) -> str:
    """A state tensor as the header's comment shows it."""
    rows = tensor.order == tuple(range(len(tensor.shape)))
    order = "" if rows else f", axes stored in the order {list(tensor.order)}"
    weight = ", a weight" if tensor.weight else ""
    return f"{_comment(tensor.name)}, {tensor.dtype} {list(tensor.shape)}{order}{weight}"


def _functions(plan: Plan) -> tuple[list[str], list[Function]]:
    """The text of every distinct kernel, and the functions. Equal kernels are written once."""
    names: dict[tuple[str, object], str] = {}
    texts: list[str] = []
    run = Entry("run", plan.inputs, plan.outputs, plan.steps, plan.arena_bytes)
    return texts, [Function(e.name, e.inputs, e.outputs, tuple(_calls(e.steps, names, texts)),
                            frozenset(r.place for s in e.steps for r in (*s.operands, s.scratch)
                                      if r is not None), e.arena_bytes)
                   for e in (run, *plan.entries)]


def _calls(steps: Sequence[Step], names: dict[tuple[str, object], str],
           texts: list[str]) -> Iterator[Call]:
    """The calls of one function; kernels that are new go into `names` and `texts`."""
    for step in steps:
        family = families()[step.family]
        variant = family.variant(step.variant)
        for spec in (step.spec, *(p.spec for p in step.pieces)):
            if (step.variant, spec) not in names:
                name = names[step.variant, spec] = f"k{len(names)}_{step.variant}"
                texts.append(render(family, variant, spec, name))
        scratch = () if step.scratch is None else (f"arena_at + {step.scratch.offset}",)
        yield Call(
            names[step.variant, step.spec], _arguments(family, step) + scratch, _comment(step.node),
            tuple(Call(names[step.variant, p.spec], _arguments(family, p) + (
                ("scratch",) if variant.scratch_bytes(p.spec) else ())) for p in step.pieces))


def _comment(text: str) -> str:
    """Text that may stand in a comment of C."""
    return text.replace("*/", "* /").replace("\n", " ")


def _described(port: Port) -> str:
    """A port as the header's comment shows it."""
    scaled = "" if port.scale is None else f", real = (q - {port.zero_point}) * {port.scale}"
    usual = "" if port.default is None else f", usually {port.default:g}"
    return f"{_comment(port.name)}, {port.dtype} {list(port.shape)}{scaled}{usual}"


def _arguments(family: Family[Any], step: Step | Piece) -> tuple[str, ...]:
    return tuple(_address(ref, CTYPES[o.dtype], o.role == "output")
                 for o, ref in zip(family.operands(step.spec), step.operands))


def _address(ref: Ref, ctype: str, written: bool) -> str:
    """C for a pointer to the operand."""
    const = "" if written else "const "
    if ref.place == "const":
        if ref.offset:
            return f"(const {ctype} *)(const void *)(const_{ref.index}.bytes + {ref.offset})"
        return f"const_{ref.index}.as_type"
    if ref.place in ("arena", "state"):
        return f"({const}{ctype} *)({ref.place}_at + {ref.offset})"
    table = "inputs" if ref.place == "input" else "outputs"
    if not ref.offset:
        return f"({const}{ctype} *){table}[{ref.index}]"
    return f"({const}{ctype} *)(({const}char *){table}[{ref.index}] + {ref.offset})"
