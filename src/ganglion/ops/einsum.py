"""Einsum: sums of products over named axes; `passes.simplify.split_einsum` makes products of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.attr import get_str
from ganglion.ops.base import Array, Attrs, Dims, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import rank, source, target
from ganglion.ops.values import attributes, dims


@dataclass(frozen=True)
class Equation:
    """The axes of each operand and of the result, a letter each."""

    operands: tuple[str, ...]
    result: str

    @property
    def text(self) -> str:
        return f"{','.join(self.operands)}->{self.result}"


def equation_of(text: str, ranks: Sequence[int]) -> Equation:
    """An equation of Einsum-12, "..." written out for operands of these ranks. Axes that "..."
    stands for are counted from the right, as broadcasting counts them; without "->" the result has
    the letters that occur once, in order, behind those.

    Raises UnsupportedOp for an equation that does not fit the operands or repeats a letter in one.
    """
    left, arrow, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks) or any(t.count("...") > 1 for t in (*terms, right)):
        raise UnsupportedOp(f"Einsum {text!r} of {len(ranks)} operands does not fit")
    spare = [c for c in ascii_letters if c not in text]
    wide = [n - len(t.replace("...", "")) if "..." in t else 0 for t, n in zip(terms, ranks)]
    most = max(0, *wide)
    if any(w < 0 for w in wide) or most > len(spare):
        raise UnsupportedOp(f"Einsum {text!r} names more axes than its operands have")
    dots = "".join(spare[:most])
    found = tuple(t.replace("...", dots[most - w:]) for t, w in zip(terms, wide))
    if not arrow:
        letters = "".join(found)
        right = dots + "".join(sorted(c for c in set(letters) - set(dots)
                                      if letters.count(c) == 1))
    result = right.replace("...", dots)
    for term, size in zip(found, ranks):
        if len(term) != size or len(set(term)) != size or not set(term) <= set(ascii_letters):
            raise UnsupportedOp(f"Einsum {text!r}: {term!r} for an operand of {size} axes; "
                                "expected a letter for each, no letter twice (a diagonal)")
    if len(set(result)) != len(result) or not set(result) <= set("".join(found)):
        raise UnsupportedOp(f"Einsum {text!r}: the result {right!r} repeats a letter or has one "
                            "that no operand has")
    return Equation(found, result)


def _reference(attrs: Attrs, *operands: Array) -> tuple[Array, ...]:
    equation = equation_of(get_str(attrs, "equation", ""), [x.ndim for x in operands])
    return (np.asarray(np.einsum(equation.text, *operands)),)


def _infer(attrs: Attrs, inputs: Sequence[ir.Value | None]) -> list[tuple[ir.DataType, Dims]]:
    """ONNX's own inference does not end for some equations."""
    given = [v for v in inputs if v is not None and v.shape is not None and v.dtype is not None]
    if not given or len(given) != len(inputs) or len({v.dtype for v in given}) != 1:
        raise ValueError("expected operands of one type, with shapes")
    equation = equation_of(get_str(attrs, "equation", ""), [rank(v) for v in given])
    sizes: dict[str, int | str | None] = {}
    for term, value in zip(equation.operands, given):
        for letter, size in zip(term, dims(value)):
            known = sizes.get(letter)
            if isinstance(size, int) and isinstance(known, int) and size != known:
                raise ValueError(f"the axis {letter!r} of {equation.text!r} has {known} and {size} "
                                 "elements")
            sizes[letter] = size if known is None or isinstance(size, int) else known
    return [(given[0].dtype or ir.DataType.FLOAT, [sizes[c] for c in equation.result])]


def _vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]) -> list[ir.Value | None]:
    """The gradient of an operand is the Einsum of dy and the others; axes of its own are spread."""
    dy, xs = dys[0], [source(node, k) for k in range(len(node.inputs))]
    if dy is None:
        return [None] * len(xs)
    equation = equation_of(get_str(attributes(node), "equation", ""), [rank(x) for x in xs])
    found: list[ir.Value | None] = []
    for k, (x, term) in enumerate(zip(xs, equation.operands)):
        others = [(v, t) for i, (v, t) in enumerate(zip(xs, equation.operands)) if i != k]
        known = {*equation.result, *"".join(t for _, t in others)}
        kept = "".join(c for c in term if c in known)
        text = Equation((equation.result, *(t for _, t in others)), kept).text
        dx = g.op("Einsum", dy, *(v for v, _ in others), equation=text)
        own = [i for i, c in enumerate(term) if c not in known]
        if own:
            dx = g.op("Expand", g.op("Unsqueeze", dx, g.ints(*own)), target(g, x))
        found.append(dx)
    return found


ROWS = (
    Op("Einsum", source="ONNX Einsum-12 (no diagonals)", weights=(0, 1), learned=(0, 1),
       reads=("equation",),
       vjp=_vjp, reference=_reference, infer=_infer),
)
