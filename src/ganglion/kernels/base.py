"""What a kernel family is: a spec (what to compute), variants (how), one template each.

A rendered kernel is one C function

    static void NAME(const T0 *restrict a, const T1 *restrict b, ..., T2 *restrict y, char *scratch)

with every shape a literal. Parameters follow `Family.operands(spec)`: inputs first, then outputs;
`scratch` is there when `scratch_bytes` is not 0. Families know arrays and numbers, never a Model.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from importlib import resources
from typing import Generic, TypeVar

import jinja2
import numpy as np

from ganglion.errors import ModelError
from ganglion.kernels import borders, bytewise, tiling
from ganglion.kernels.ctext import C, word
from ganglion.kernels.isa import Isa
from ganglion.kernels.literal import CTYPES as CTYPES
from ganglion.kernels.literal import literal_f32
from ganglion.kernels.program import statements, value
from ganglion.kernels.typed import saturated

S = TypeVar("S")


@dataclass(frozen=True)
class Operand:
    """One array parameter: its C name, dtype and number of elements.

    `role`: "input" (from memory), "const" (known when building, may be packed), "output".
    `alias`: names of inputs whose bytes this output may share (computed in place).
    """

    name: str
    dtype: str
    size: int
    role: str = "input"
    alias: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize


def _always(spec: object) -> bool:
    return True


def _free(spec: object) -> float:
    return 1.0


@dataclass(frozen=True)
class Variant(Generic[S]):
    """One way to compute a family's spec. The name parses: family_dtype_shape__isa.

    `accepts(spec)`: the precondition. `cost(spec)`: estimated cycles, the planner takes the least
    among those that the target runs and that accept. `tile`: numbers the template wants.
    `pack(spec, consts) -> consts`: constant operands rearranged once, at build time; the sizes of
    what it returns may differ from the operands'. `scratch_bytes(spec)`: working memory.
    """

    name: str
    isa: Isa
    template: str
    accepts: Callable[[S], bool] = _always
    cost: Callable[[S], float] = _free
    tile: Mapping[str, int] = field(default_factory=dict)
    pack: Callable[[S, dict[str, np.ndarray]], dict[str, np.ndarray]] | None = None
    scratch_bytes: Callable[[S], int] = lambda spec: 0


class OfElements:
    """What a spec with a `dtype` says of its elements in C."""

    dtype: str

    @property
    def element(self) -> str:
        """C type of one element."""
        return CTYPES[self.dtype]

    @property
    def floats(self) -> bool:
        """Whether an element may be NaN."""
        return self.dtype in ("float32", "float64")

    @property
    def wide(self) -> str:
        """C type in which a product or sum of elements is defined for every value."""
        if self.floats:
            return self.element
        return "uint64_t" if self.dtype.endswith("64") else "uint32_t"


@dataclass(frozen=True)
class Stretch:
    """Of an array of [shape] only [start, stop) along `axis`."""

    shape: tuple[int, ...]
    axis: int
    start: int
    stop: int

    def of(self, array: np.ndarray) -> np.ndarray:
        """The stretch, copied."""
        return array.reshape(self.shape).take(range(self.start, self.stop), self.axis)


@dataclass(frozen=True)
class Part:
    """`spec` of one part, and by name the element at which its operands start, where not 0.

    `constants`: the constant operands of which the part takes only a stretch.
    """

    spec: object
    starts: Mapping[str, int]
    constants: Mapping[str, Stretch] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut(Generic[S]):
    """How specs of a family divide: `extent(spec)` slices, of which `part(spec, start, stop)` takes
    some (None where that can't be said as a spec).

    `units(spec, variant)`: a part starts at a multiple of one of these; several are worth trying.
    """

    extent: Callable[[S], int]
    part: Callable[[S, int, int], Part | None]
    units: Callable[[S, Variant[S]], tuple[int, ...]] = lambda spec, variant: (1,)


@dataclass(frozen=True)
class Family(Generic[S]):
    """A spec type, the operands it implies, the NumPy meaning, and the variants (scalar first).

    `reference(spec, arrays) -> arrays`: inputs and consts by operand name (flat or shaped as the
    spec says), outputs by name. `macs(spec)`: multiply-adds, for reports and the cost model.
    `cut`: how its specs divide over cores; None where they are always computed whole.
    """

    name: str
    operands: Callable[[S], Sequence[Operand]]
    reference: Callable[[S, Mapping[str, np.ndarray]], dict[str, np.ndarray]]
    variants: Sequence[Variant[S]]
    macs: Callable[[S], int] = lambda spec: 0
    cut: Cut[S] | None = None

    def variant(self, name: str) -> Variant[S]:
        return next(v for v in self.variants if v.name == name)


@cache
def environment() -> jinja2.Environment:
    """Jinja over `kernels/`: `<< >>` prints, `<% %>` controls, so that C's braces stay C's."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("ganglion", "kernels"), undefined=jinja2.StrictUndefined,
        variable_start_string="<<", variable_end_string=">>", block_start_string="<%",
        block_end_string="%>", comment_start_string="<#", comment_end_string="#>",
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)
    env.filters["f32"] = literal_f32
    env.globals["ctypes"] = CTYPES
    env.globals["borders"] = borders
    env.globals["bytewise"] = bytewise
    env.globals["tiling"] = tiling
    env.globals["statements"] = statements
    env.globals["value"] = value
    env.globals["saturated"] = saturated
    return env


def render(family: Family[S], variant: Variant[S], spec: S, function: str) -> C:
    """The C text of one kernel: a `static void function(...)`.

    Raises ModelError for a spec with text in it that is no plain word."""
    require_words(spec, family.name)
    template = environment().get_template(variant.template)
    return C(template.render(spec=spec, v=variant, L=variant.isa.lanes, function=word(function),
                             signature=signature(family, variant, spec, function), t=variant.tile))


def require_words(spec: object, where: str) -> None:
    """Raises ModelError unless a spec holds nothing but numbers and words that `word` lets pass,
    those of instructions with a dot between (`ops.pointwise`), so that templates may print whatever
    is in it."""
    if isinstance(spec, str):
        if spec.replace(".", "_") != word(spec):
            raise ModelError(f"kernel {where!r} is given the text {spec!r}; expected letters, "
                             "digits and underscores alone")
    elif spec is not None and not isinstance(spec, int | float | np.generic):
        for part in _parts(spec, where):
            require_words(part, where)


def _parts(spec: object, where: str) -> Iterable[object]:
    if is_dataclass(spec):
        return [getattr(spec, each.name) for each in fields(spec)]
    if isinstance(spec, tuple | list | frozenset):
        return spec
    if isinstance(spec, Mapping):
        return [*spec.keys(), *spec.values()]
    raise ModelError(f"kernel {where!r} is given {type(spec).__name__}: expected numbers, words, "
                     "and tuples of them")


def signature(family: Family[S], variant: Variant[S], spec: S, function: str) -> str:
    """`static void function(const float *x, ..., float *y)`; without restrict where aliasing is
    allowed."""
    operands = family.operands(spec)
    shared = {a for o in operands for a in o.alias} | {o.name for o in operands if o.alias}
    params = []
    for o in operands:
        const = "" if o.role == "output" else "const "
        restrict = "" if o.name in shared else "restrict "
        params.append(f"{const}{CTYPES[o.dtype]} *{restrict}{o.name}")
    if variant.scratch_bytes(spec):
        params.append("void *restrict scratch")
    return f"static void {function}({', '.join(params)})"


def header_text(name: str) -> str:
    """A vocabulary header of `kernels/isa/`, as text to be pasted into a C file."""
    return (resources.files("ganglion.kernels") / "isa" / name).read_text()
