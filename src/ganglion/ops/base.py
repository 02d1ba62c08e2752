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

Made = Sequence[ir.Value] | None
"""The outputs as what other operators give; None while a size that it needs is open."""

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
    """Lowered by the function of this name in `plan/lowering/`; `kind` is which of its family."""

    family: str
    kind: str = ""


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


class Axes(Enum):
    """How the axes of the first result come from the first input's: whoever follows an axis through
    a network (a transpose, time, channels) has a rule for each of these, not for operators.

    SAME: they stay. BROADCAST: they stay, other inputs are stretched. ALONG: they stay, `axis` is
    worked along. INNER: they stay, those from `axis` on are worked on together. CHANNELS: they
    stay, axis 1 has numbers of its own in the other inputs; PLANES: the same, and all axes behind
    are worked on together. POOLED: windows slide along those behind 1; CONVOLVED, SPREAD: besides,
    axis 1 is summed with weights [O, I, ...] or [I, O, ...]. SCALED: sizes change. PRODUCT: the
    last is summed with the second input; ROWS: the same of two. ROUNDED: they stay, `axis` may have
    scales of its own. REDUCED, SQUEEZED, UNSQUEEZED: those that input 1 lists go or come.
    PERMUTED: in another order. RESHAPED: the elements stay in order. JOINED: inputs lie behind
    each other along `axis`. PICKED: indices stand in place of `axis`. CUT, PADDED, REPEATED,
    EXPANDED: each is shortened, lengthened, repeated, stretched. STEPS: steps, batch, units.
    """

    SAME = 1
    BROADCAST = 2
    ALONG = 3
    INNER = 4
    CHANNELS = 5
    PLANES = 6
    POOLED = 7
    CONVOLVED = 8
    SPREAD = 9
    SCALED = 10
    PRODUCT = 11
    ROWS = 12
    ROUNDED = 13
    REDUCED = 14
    SQUEEZED = 15
    UNSQUEEZED = 16
    PERMUTED = 17
    RESHAPED = 18
    JOINED = 19
    PICKED = 20
    CUT = 21
    PADDED = 22
    REPEATED = 23
    EXPANDED = 24
    STEPS = 25


@dataclass(frozen=True)
class Points:
    """Which inputs are the zero points of the first input (`x`) and of the output (`y`) of an
    operator on codes; `tied`: both have one dtype. A build may raise codes and points alike."""

    x: int | None
    y: int | None
    tied: bool = False


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
    `axes`: see `Axes`; None where that follows from another cell, or no axis can be followed.
    `units`: the axis of the weight that has one entry an output, by the attributes.
    `moves`: see `Moves`, by the attributes where they decide; None computes. `even`: 256 even steps
    describe its results well; `limits`: these lie between them whatever it reads. `codes`: it reads
    or gives the codes of rounded numbers, `points` of zero. `divides`: it divides before it
    decides. `exact`: its floats come out the same of every build. `statistics`: which inputs are
    running means and variances of batches.
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
    axes: Axes | None = None
    units: Callable[[Attrs], int] | None = None
    moves: Moves | Callable[[Attrs], Moves | None] | None = None
    even: bool = False
    limits: tuple[float, float] = (-inf, inf)
    codes: bool = False
    points: Points | None = None
    divides: bool = False
    statistics: tuple[int, ...] = ()
    exact: bool = False
    made_of: Callable[[Builder, ir.Node], Made] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return (self.domain, self.name)
