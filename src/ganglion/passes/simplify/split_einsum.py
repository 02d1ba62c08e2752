"""Einsum as products and moves, which everything else knows."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ganglion.ops.attr import get_str
from ganglion.ops.einsum import equation_of
from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.named import EINSUM
from ganglion.ops.values import attributes
from ganglion.passes.base import Pass, before, redirect

Dim = int | None


class SplitEinsum(Pass):
    """Einsum("bij,bjk->bik", A, B)  ⇒  MatMul(A, B);   "ij->ji"  ⇒  Transpose;   "ij,i->ij"  ⇒
    Mul(A, Unsqueeze(B))

    Operands are multiplied from the left; axes that nobody needs any more are summed first. It
    waits while the sizes of several axes are open. Changes rounding.
    Source: ONNX Einsum-12.
    """

    def rewrite(self, model: ir.Model) -> bool:
        changed = False
        for node in list(model.graph):
            if is_op(node, EINSUM):
                result = _split(model, node)
                changed |= result is not None and redirect(node.outputs[0], result)
        return changed


NARROW = (ir.DataType.INT8, ir.DataType.INT16, ir.DataType.UINT8, ir.DataType.UINT16)
"""Integers that ONNX neither multiplies as matrices nor adds up: int32 has the same low bits."""


@dataclass(frozen=True)
class _Factor:
    """A value, the letter and the size of each of its axes."""

    value: ir.Value
    letters: str
    sizes: tuple[Dim, ...]

    def size(self, letter: str) -> Dim:
        return self.sizes[self.letters.index(letter)]


def _split(model: ir.Model, node: ir.Node) -> ir.Value | None:
    operands = [v for v in node.inputs if v is not None and v.shape is not None]
    if len(operands) != len(node.inputs):
        return None
    shapes = [tuple(d if isinstance(d, int) else None for d in v.shape or ()) for v in operands]
    equation = equation_of(get_str(attributes(node), "equation", ""), list(map(len, shapes)))
    make, given = _Maker(GraphBuilder.extending(model), node), operands[0].dtype
    if given in NARROW:
        operands = [make.op("Cast", v, to=int(ir.DataType.INT32)) for v in operands]
    sizes: dict[str, Dim] = {}
    for term, shape in zip(equation.operands, shapes):
        sizes |= {c: n for c, n in zip(term, shape) if sizes.get(c) is None}
    if sum(size is None for size in sizes.values()) > 1:
        return None
    factors = [_Factor(v, term, tuple(sizes[c] for c in term))
               for v, term in zip(operands, equation.operands)]
    product = factors[0]
    for k in range(len(factors)):
        needed = equation.result + "".join(f.letters for f in factors[k + 1:])
        if k:
            product = make.product(product, factors[k], needed)
        product = make.summed(product, needed)
    result = make.ordered(product, equation.result).value
    if given in NARROW:
        return make.op("Cast", result, to=int(given))
    return make.op("Identity", result) if result in operands else result


@dataclass(frozen=True)
class _Maker:
    """Writes nodes in front of the Einsum."""

    g: GraphBuilder
    node: ir.Node

    def op(self, name: str, *inputs: ir.Value, **attrs: int | list[int]) -> ir.Value:
        return before(self.node, self.g.op(name, *inputs, hint=self.node.name, attrs=attrs))

    def summed(self, x: _Factor, needed: str) -> _Factor:
        """Without the axes whose letters are not needed any more."""
        gone = [k for k, c in enumerate(x.letters) if c not in needed]
        if not gone:
            return x
        value = self.op("ReduceSum", x.value, self.g.ints(*gone), keepdims=0)
        left = [k for k in range(len(x.letters)) if k not in gone]
        return _Factor(value, "".join(x.letters[k] for k in left),
                       tuple(x.sizes[k] for k in left))

    def ordered(self, x: _Factor, letters: str) -> _Factor:
        """The axes in this order."""
        perm = [x.letters.index(c) for c in letters]
        if perm == sorted(perm):
            return x
        return _Factor(self.op("Transpose", x.value, perm=perm), letters,
                       tuple(x.sizes[k] for k in perm))

    def product(self, a: _Factor, b: _Factor, needed: str) -> _Factor:
        """The product of two, summed over the letters of both that are not needed."""
        a = self.summed(a, needed + b.letters)
        b = self.summed(b, needed + a.letters)
        inner = "".join(c for c in a.letters if c in b.letters and c not in needed)
        batch = "".join(c for c in a.letters if c in b.letters and c in needed)
        rows = "".join(c for c in a.letters if c not in b.letters)
        columns = "".join(c for c in b.letters if c not in a.letters)
        sizes = {**dict(zip(b.letters, b.sizes)), **dict(zip(a.letters, a.sizes))}
        found = tuple(sizes[c] for c in batch + rows + columns)
        a, b = self.ordered(a, batch + rows + inner), self.ordered(b, batch + inner + columns)
        if not inner:
            value = self.op("Mul", self._spread(a.value, len(batch + rows), len(columns)),
                            self._spread(b.value, len(batch), len(rows)))
            return _Factor(value, batch + rows + columns, found)
        value = self.op("MatMul", self._folded(a, (*batch, rows, inner)),
                        self._folded(b, (*batch, inner, columns)))
        whole = _Factor(value, batch + rows + columns, found)
        return _Factor(self._unfolded(whole, batch, rows, columns), whole.letters, found)

    def _spread(self, value: ir.Value, at: int, count: int) -> ir.Value:
        """`count` axes of one element from axis `at` on."""
        if count == 0:
            return value
        return self.op("Unsqueeze", value, self.g.ints(*range(at, at + count)))

    def _folded(self, x: _Factor, groups: Sequence[str]) -> ir.Value:
        """One axis for each group of neighbouring letters."""
        if all(len(group) == 1 for group in groups):
            return x.value
        return self._reshaped(x.value, [[x.size(c) for c in group] for group in groups])

    def _unfolded(self, x: _Factor, batch: str, rows: str, columns: str) -> ir.Value:
        """An axis for each letter, from one for all rows and one for all columns."""
        if len(rows) == 1 and len(columns) == 1:
            return x.value
        return self._reshaped(x.value, [[x.size(c)] for c in batch + rows + columns])

    def _reshaped(self, value: ir.Value, groups: Sequence[Sequence[Dim]]) -> ir.Value:
        """The product of each group as its size; -1 for the one that is not known."""
        shape = []
        for group in groups:
            size = 1
            for each in group:
                size = -1 if each is None or size < 0 else size * each
            shape.append(size)
        return self.op("Reshape", value, self.g.ints(*shape))
