"""A Plan as C11: one function a distinct kernel, one function that calls them in order."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2

from ganglion.emit.literals import bytes_literal
from ganglion.kernels.base import CTYPES, Family, render
from ganglion.kernels.isa import ISAS
from ganglion.kernels.registry import families
from ganglion.kernels.source import prelude
from ganglion.plan.types import ALIGNMENT, Piece, Plan, Port, Ref, Step

DESCRIPTION_VERSION = 1
"""Version of the description in the generated code."""


@dataclass(frozen=True)
class Call:
    """One line of the run function: a kernel, its arguments as C, and what it computes; `pieces`:
    the calls that together do the same on several cores."""

    function: str
    arguments: tuple[str, ...]
    comment: str = ""
    pieces: tuple["Call", ...] = ()


def emit(plan: Plan) -> dict[str, str]:
    """{"NAME.h": text, "NAME.c": text}. Pure: the same Plan gives the same bytes."""
    kernels, calls = _kernels(plan)
    description = json.dumps(describe(plan), separators=(",", ":"))
    values = {
        "plan": plan, "kernels": kernels, "calls": calls, "alignment": ALIGNMENT,
        "prelude": prelude([ISAS[name] for name in plan.isas], "\n".join(kernels)),
        "ctypes": CTYPES, "bytes_literal": bytes_literal,
        "description": bytes_literal(description.encode()),
        "places": {r.place for s in plan.steps for r in s.operands}, "zero": b"\0",
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
    return {
        "name": plan.name, "version": DESCRIPTION_VERSION, "digest": plan.digest,
        "inputs": [_port(p) for p in plan.inputs], "outputs": [_port(p) for p in plan.outputs],
        "state": [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape),
                   "order": list(t.order), "offset": t.offset} for t in plan.state]}


def _port(port: Port) -> dict[str, object]:
    found: dict[str, object] = {"name": port.name, "dtype": port.dtype, "shape": list(port.shape)}
    if port.scale is not None:
        found |= {"scale": port.scale, "zero_point": port.zero_point or 0}
    return found


def _kernels(plan: Plan) -> tuple[list[str], list[Call]]:
    """The text of every distinct kernel, and the calls. Equal kernels are written once."""
    names: dict[tuple[str, object], str] = {}
    texts: list[str] = []
    calls: list[Call] = []
    for step in plan.steps:
        family = families()[step.family]
        variant = family.variant(step.variant)
        for spec in (step.spec, *(p.spec for p in step.pieces)):
            if (step.variant, spec) not in names:
                name = names[step.variant, spec] = f"k{len(names)}_{step.variant}"
                texts.append(render(family, variant, spec, name))
        scratch = () if step.scratch is None else (f"arena_at + {step.scratch.offset}",)
        comment = step.node.replace("*/", "* /").replace("\n", " ")
        calls.append(Call(
            names[step.variant, step.spec], _arguments(family, step) + scratch, comment,
            tuple(Call(names[step.variant, p.spec], _arguments(family, p) + (
                ("scratch",) if variant.scratch_bytes(p.spec) else ())) for p in step.pieces)))
    return texts, calls


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
