"""What the row of an operator says of a node: whoever asks needs to know no operator's name."""

import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.base import Axes, Kernel, Moves, Op, Pointwise, View
from ganglion.ops.pointwise import operand, program
from ganglion.ops.registry import find
from ganglion.ops.values import attributes

ROUNDED_ANYHOW = frozenset({"exp", "log", "tanh", "erf", "sin", "cos", "sigmoid", "pow"})
"""Float instructions that IEEE 754 leaves open: each target rounds them in its own way."""
CONVERSIONS = frozenset({"input", "neg", "cast", "odd", "half", "bhalf"})
RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
                    "Multinomial", "Bernoulli", "Dropout"})
"""ONNX's operators that may give something else each time."""
SIZED_BY_DATA = frozenset({"NonZero", "Unique", "Compress"})
"""ONNX's operators whose output has no known shape but is never larger than rank × input."""
POOLS = ("pool", "global_pool")


def row_of(node: ir.Node | None) -> Op | None:
    """The row of a node's operator."""
    return None if node is None else find(node.domain, node.op_type)


def is_op(node: ir.Node | None, *ops: Op) -> bool:
    """Whether the node is one of these operators."""
    row = row_of(node)
    return any(row is op for op in ops)


def family_of(node: ir.Node | None) -> str:
    """The family of kernels that computes the node; "" for views and element-wise nodes."""
    row = row_of(node)
    return row.lower.family if row is not None and isinstance(row.lower, Kernel) else ""


def kind_of(node: ir.Node) -> str:
    """Which of its family the node is: the mode of a pool or reduction, a recurrent cell."""
    row = row_of(node)
    return row.lower.kind if row is not None and isinstance(row.lower, Kernel) else ""


def axes_of(node: ir.Node | None) -> Axes | None:
    """How axes pass through the node; None where they cannot be followed."""
    row = row_of(node)
    if row is None or row.axes is not None:
        return None if row is None else row.axes
    if is_pointwise(node):
        return Axes.BROADCAST
    if row.states:
        return Axes.STEPS
    if is_reduction(node):
        return Axes.REDUCED
    return None if row.along is None else Axes.ALONG


def units_of(node: ir.Node) -> int:
    """The axis of the weight that has an entry for each output, of each group where there are some.

    Raises ValueError for a node without such a weight.
    """
    row = row_of(node)
    if row is None or row.units is None:
        raise ValueError(f"node {node.name!r} ({node.op_type}) has no weight of units")
    return row.units(attributes(node))


def movement(node: ir.Node | None) -> Moves | None:
    """How the node moves elements; None where it computes."""
    row = row_of(node)
    if row is None or node is None:
        return None
    if isinstance(row.lower, View):
        return Moves.VIEW
    return row.moves(attributes(node)) if callable(row.moves) else row.moves


def is_view(node: ir.Node | None) -> bool:
    """Whether the node shows the same elements in another shape."""
    return movement(node) is Moves.VIEW


def shows(node: ir.Node | None) -> bool:
    """Whether the node needs no bytes of its own: the first input's, in another shape or order."""
    return is_view(node) or axes_of(node) is Axes.PERMUTED


def is_rearranged(node: ir.Node | None) -> bool:
    """Whether all that the node gives are elements of its first input."""
    return movement(node) in (Moves.VIEW, Moves.PLACE)


def is_pointwise(node: ir.Node | None) -> bool:
    """Whether the node computes element by element from broadcast inputs."""
    row = row_of(node)
    return row is not None and isinstance(row.lower, Pointwise)


def is_product(node: ir.Node | None) -> bool:
    """Whether the node is sums of products with weights: a convolution or a matrix product."""
    row = row_of(node)
    return row is not None and bool(row.weights) and not row.states


def is_even(node: ir.Node | None) -> bool:
    """Whether 256 even steps describe the node's results well."""
    row = row_of(node)
    return row is not None and row.even


def is_exact(node: ir.Node) -> bool:
    """Whether the node gives the same bits in the reference and in every build: integer arithmetic,
    moves, element-wise operations that IEEE 754 rounds correctly."""
    row, dtype = row_of(node), node.outputs[0].dtype
    if is_pointwise(node):
        return not is_inexact(node)
    exact = row is not None and (row.codes or row.exact)
    return exact or movement(node) is not None or (dtype is not None and dtype.is_integer())


def reads_codes(node: ir.Node) -> bool:
    """Whether the node reads or gives the codes of rounded numbers."""
    row = row_of(node)
    return row is not None and row.codes


def divides(node: ir.Node) -> bool:
    """Whether the node divides before it decides, and so rounds itself what it decides by."""
    row = row_of(node)
    return row is not None and row.divides


def statistics_of(node: ir.Node | None) -> tuple[int, ...]:
    """Which inputs are a batch's running statistics, of a node that normalises by these."""
    row = row_of(node)
    return () if row is None else row.statistics


def is_coding(node: ir.Node | None) -> bool:
    """Whether the node turns numbers into codes or codes into numbers."""
    return axes_of(node) is Axes.ROUNDED


def indices_of(node: ir.Node) -> int | None:
    """Which input picks places along an axis of the first."""
    row = row_of(node)
    return None if row is None else row.indices


def worked_along(node: ir.Node | None) -> int | None:
    """The axis that the node works along, be it negative; None where there is not just one."""
    row = row_of(node)
    if node is None or row is None or row.along is None:
        return None
    return node.attributes.get_int("axis", row.along)


def is_recurrent(node: ir.Node | None) -> bool:
    """Whether the node walks along a sequence with a state."""
    row = row_of(node)
    return row is not None and bool(row.states)


def states_of(node: ir.Node) -> tuple[int, ...]:
    """Which inputs its cells start from."""
    row = row_of(node)
    return () if row is None else row.states


def is_reduction(node: ir.Node | None) -> bool:
    """Whether the node makes one number of many along axes, by a sum or an extreme."""
    return family_of(node) == "reduce"


def is_average(node: ir.Node | None) -> bool:
    """Whether the node averages windows or all pixels of the first input."""
    return family_of(node) in POOLS and movement(node) is None


def is_table(node: ir.Node | None) -> bool:
    """Whether the node looks a function of 8-bit codes up."""
    return family_of(node) == "table"


def is_random(node: ir.Node) -> bool:
    """Whether it may give something else each time: never folded, never merged."""
    return node.op_type in RANDOM or family_of(node) == "random_uniform"


def is_sized_by_data(node: ir.Node) -> bool:
    """Whether the shape of its output follows from the numbers that it reads."""
    return node.domain == "" and node.op_type in SIZED_BY_DATA


def is_inexact(node: ir.Node) -> bool:
    """Whether an element-wise node calls a function that targets may round differently."""
    return not ROUNDED_ANYHOW.isdisjoint(_instructions(node))


def is_copy(node: ir.Node) -> bool:
    """Whether an element-wise node gives its only operand as it is: a sum or maximum of one."""
    return is_pointwise(node) and len(node.inputs) == 1 and _instructions(node) == {"input"}


def is_conversion(node: ir.Node | None) -> bool:
    """Whether the node gives its input's numbers in another type or with another sign."""
    return node is not None and is_pointwise(node) and CONVERSIONS.issuperset(_instructions(node))


def weights_of(node: ir.Node) -> tuple[int, ...]:
    """Which inputs it multiplies sums of products with; of two, either may be the weight."""
    row = row_of(node)
    return () if row is None else row.weights


def added_to(node: ir.Node) -> tuple[int, ...]:
    """Which inputs it adds to the others."""
    row = row_of(node)
    return () if row is None else row.added


def learned_by(node: ir.Node) -> tuple[int, ...]:
    """Which inputs training learns where they are weights."""
    row = row_of(node)
    return () if row is None else row.learned


def limits_of(node: ir.Node | None) -> tuple[float, float]:
    """Between which numbers all results lie, whatever the node reads."""
    row = row_of(node)
    return Op.limits if row is None else row.limits


def _instructions(node: ir.Node) -> frozenset[str]:
    """The names of what an element-wise node does; nothing for other nodes and types."""
    row = row_of(node)
    if row is None or not isinstance(row.lower, Pointwise):
        return frozenset()
    dtypes = ["float32" if v is None or v.dtype is None else str(v.dtype.numpy())
              for v in node.inputs]
    given = [None if v is None else operand(k, t)
             for k, (v, t) in enumerate(zip(node.inputs, dtypes))]
    try:
        code, _ = program([row.lower.expr(attributes(node), *given)])
    except UnsupportedOp:
        return frozenset()
    return frozenset(str(instr[0]) for instr in code)
