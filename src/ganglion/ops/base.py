"""The operator row: the one place where an operator's reference, lowering and gradient stand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf

import onnx_ir as ir

from ganglion.ops.building import Builder
from ganglion.ops.dialect import GANGLION_DOMAIN as GANGLION_DOMAIN
from ganglion.ops.dialect import OPSET as OPSET
from ganglion.ops.dialect import Array as Array
from ganglion.ops.dialect import Attrs as Attrs
from ganglion.ops.pointwise import Expr

Reference = Callable[..., tuple[Array, ...]]
"""`reference(attrs, *inputs) -> outputs`; an absent optional input is None. Works in the dtype of
its inputs: float64 in, float64 out, so that one definition serves as oracle and error estimate."""

Vjp = Callable[[Builder, ir.Node, Sequence[ir.Value | None]], list[ir.Value | None]]
"""`vjp(g, node, dys) -> dxs`: gradients of the node's inputs, None where none flows.
`dys[i]` is None when no gradient reaches output i."""

Dims = Sequence[int | ir.SymbolicDim | str | None]
Infer = Callable[[Attrs, Sequence[ir.Value | None]], list[tuple[ir.DataType, Dims]]]
"""`infer(attrs, inputs) -> [(dtype, shape)]`: only for operators that ONNX does not know or whose
shapes it infers wrongly."""


@dataclass(frozen=True)
class Pointwise:
    """Computed element by element from broadcast inputs; such nodes fuse into one loop.

    `expr(attrs, *inputs) -> Expr` describes the arithmetic (see `ops.pointwise`).
    """

    expr: Callable[..., Expr]


@dataclass(frozen=True)
class View:
    """Bytes stay where they are, only the shape changes (Reshape, Flatten, Squeeze ...)."""


@dataclass(frozen=True)
class Kernel:
    """Lowered by the function of this name in `plan/lowering/`; extra constants in `fixed`."""

    family: str


Lowering = Pointwise | View | Kernel


class Moves(Enum):
    """How the elements of outputs come from those of the inputs, where nothing is computed.

    VIEW: all of the first input's, in the same order. PLACE: elements of the first input, each at
    some place or several. FILL: the same, or a given number. PICK: one out of several of the first
    input's, by their size. JOIN: elements of several inputs.
    """

    VIEW = 1
    PLACE = 2
    FILL = 3
    PICK = 4
    JOIN = 5


@dataclass(frozen=True)
class Op:
    """One operator. An empty cell is explicit: None means that it does not exist.

    `reference=None` means: ONNX's own reference implementation is the definition.
    `vjp=None` means: not differentiable or no gradient written (the docs' table shows it).
    `lower=None` means: exists in Models only; a pass removes it before planning. `made_of`: the
    outputs as the work of other operators, None while a size that it needs is open.
    `reads`: the attributes that its cells (and ONNX's inference, for views) heed; a node with
    another one is refused unless that is at its default (`ops.guard`).

    What others ask of it, as numbers of inputs (`ops.facts` asks for a node):
    `weights`: what it multiplies sums of products with, `added`: what it adds to them, `learned`:
    all that training learns, `states`: what its cells start from, for a recurrent layer,
    `indices`: which rows, along `axis`, of the first input.
    `along`: the default of `axis`, the one axis that it works along.
    `moves`: see `Moves`, by the attributes where they decide; None computes. `even`: 256 even steps
    describe its results well; `limits`: these lie between them whatever it reads. `codes`: it reads
    or gives the codes of rounded numbers. `exact`: its floats come out the same of every build.
    """

    name: str
    source: str
    domain: str = ""
    lower: Lowering | None = None
    vjp: Vjp | None = None
    reference: Reference | None = None
    infer: Infer | None = None
    reads: tuple[str, ...] = ()
    weights: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    learned: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    indices: int | None = None
    along: int | None = None
    moves: Moves | Callable[[Attrs], Moves | None] | None = None
    even: bool = False
    limits: tuple[float, float] = (-inf, inf)
    codes: bool = False
    exact: bool = False
    made_of: Callable[[Builder, ir.Node], Sequence[ir.Value] | None] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return (self.domain, self.name)
