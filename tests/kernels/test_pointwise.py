"""Element-wise programs: every variant gives the same bits, and those of the reference."""

from typing import Any

import numpy as np
import pytest
from tests.support.kernel_law import WAYS, random_arrays, share, tried

from ganglion.kernels.pointwise import POINTWISE, PointwiseSpec, Stream
from ganglion.kernels.program import Program

EXACT: Program = (("input", 0), ("input", 1), ("add", 0, 1), ("const", 0.3), ("mul", 2, 3),
                  ("max", 4, 1), ("sub", 5, 0), ("abs", 1), ("sqrt", 7), ("div", 6, 8),
                  ("floor", 9), ("ceil", 4), ("rint", 5), ("gt", 10, 11), ("le", 4, 12),
                  ("or", 13, 14), ("not", 15), ("where", 16, 10, 12), ("neg", 17), ("min", 18, 9))
CURVES = ("exp", "log", "tanh", "erf", "sin", "cos", "sigmoid")
MATH: Program = (("input", 0), *((name, 0) for name in CURVES), ("abs", 0), ("pow", 8, 0))
COPY: Program = (("input", 0),)
FLAG: Program = (("input", 0), ("input", 1), ("gt", 0, 1), ("and", 2, 0))


def dense(dtype: str, *dims: int, scale: float | None = None, zero_point: int = 0) -> Stream:
    """Row-major elements."""
    strides = tuple(int(np.prod(dims[i + 1:])) for i in range(len(dims)))
    return Stream(dtype, strides, int(np.prod(dims)), scale, zero_point)


SPECS = [
    PointwiseSpec((), (Stream("float32", (), 1),) * 2, (Stream("float32", (), 1),), EXACT, (19,)),
    PointwiseSpec((37,), (dense("float32", 37),) * 2, (dense("float32", 37),), EXACT, (19,)),
    PointwiseSpec((3, 5, 21), (dense("float32", 3, 5, 21), Stream("float32", (0, 1, 0), 5)),
                  (dense("float32", 3, 5, 21), dense("bool", 3, 5, 21)), EXACT, (19, 16)),
    PointwiseSpec((4, 16), (dense("float32", 4, 16), Stream("float32", (0, 1), 16)),
                  (dense("float32", 4, 16),), EXACT, (19,)),
    PointwiseSpec((6, 19), (Stream("float32", (1, 6), 114), dense("int8", 6, 19)),
                  (Stream("float32", (40, 2), 240), dense("int32", 6, 19)), EXACT, (19, 12)),
    PointwiseSpec((2, 33), (dense("uint8", 2, 33, scale=0.031, zero_point=131),
                            dense("int8", 2, 33, scale=0.27, zero_point=-9)),
                  (dense("int8", 2, 33, scale=0.11, zero_point=4),
                   dense("uint8", 2, 33, scale=0.02, zero_point=7)), EXACT, (19, 6)),
    PointwiseSpec((50,), (dense("int64", 50), dense("int32", 50)),
                  (dense("int64", 50), dense("uint8", 50), dense("int8", 50)), EXACT,
                  (19, 4, 18)),
    PointwiseSpec((50,), (dense("bool", 50), dense("float32", 50)),
                  (dense("bool", 50), dense("float32", 50)), FLAG, (3, 3)),
    PointwiseSpec((9, 40), (dense("float32", 9, 40),),
                  (dense("int8", 9, 40, scale=0.01), dense("bool", 9, 40)), COPY, (0, 0)),
    PointwiseSpec((50,), (dense("float32", 50),), (dense("int8", 50, scale=1e-35),), COPY, (0,)),
]
RESIDUAL: Program = (("input", 0), ("input", 1), ("add", 0, 1))
RELU: Program = (*RESIDUAL, ("const", 0.0), ("max", 2, 3))
CLIPPED: Program = (("input", 0), ("input", 1), ("sub", 1, 0), ("const", -0.7), ("max", 2, 3),
                    ("const", 1.5), ("min", 4, 5))


def every_pair(first: tuple[str, float, int], second: tuple[str, float, int],
               result: tuple[str, float, int], code: Program) -> PointwiseSpec:
    """A function of two codes, for every pair of them and 37 more."""
    a, b, y = (Stream(dtype, (1,), 65536 + 37, float(np.float32(scale)), zero)
               for dtype, scale, zero in (first, second, result))
    return PointwiseSpec((65536 + 37,), (a, b), (y,), code, (len(code) - 1,))


PAIRS = [
    every_pair(("int8", 0.0431, -128), ("int8", 0.0277, 5), ("int8", 0.0519, -128), RELU),
    every_pair(("int8", 0.0431, -3), ("uint8", 0.0277, 128), ("int8", 0.0611, 9), RESIDUAL),
    every_pair(("uint8", 0.011, 0), ("uint8", 0.0132, 0), ("uint8", 0.0159, 0), RELU),
    every_pair(("uint8", 0.011, 7), ("int8", 0.0132, 0), ("uint8", 0.0159, 100), CLIPPED),
]
CURVED = [PointwiseSpec((333,), (dense("float32", 333),), (dense("float32", 333),) * 9, MATH,
                        tuple(range(1, 10)))]


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal, signs of zero and all; any NaN equals any NaN."""
    if a.dtype != np.float32:
        return np.array_equal(a, b)
    return np.array_equal(np.where(np.isnan(a), np.float32(np.nan), a).view(np.int32),
                          np.where(np.isnan(b), np.float32(np.nan), b).view(np.int32))


@pytest.mark.parametrize("way", WAYS)
def test_exact_programs_give_the_reference_bits(way: str) -> None:
    for case, got in tried(POINTWISE, SPECS, way):
        for name, want in POINTWISE.reference(case.spec, case.arrays).items():
            assert same_bits(got[name], want), f"{case.variant.name} {name} {case.spec}"


INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def typed(t: str) -> PointwiseSpec:
    """All instructions on an integer type, on [6, 19]: one operand dense, one that repeats along
    each axis; masks, floats and other types among the results."""
    two = ("add", "sub", "mul", "div", "mod", "fmod", "max", "min", "both", "either", "differ")
    shifts = ("shl", "shr") if t[0] == "u" else ()
    code: list[tuple[str | int | float, ...]] = [
        (f"{t}.input", 0), (f"{t}.input", 1), (f"{t}.input", 2), ("int64.input", 3), ("input", 0),
        (f"{t}.const", int(np.iinfo(t).max) - 1)]
    code += [(f"{t}.{name}", 0, 1) for name in (*two, *shifts)]
    code += [(f"{t}.{name}", 0) for name in ("neg", "abs", "flip")]
    code += [(f"{t}.pow", 0, 3), (f"{t}.add", 2, 5)]
    code += [(f"{t}.{name}", 0, 1) for name in ("gt", "ge", "lt", "le", "eq")]
    mask = len(code) - 5
    code += [(f"{t}.where", mask, 0, 2), ("where", mask, 4, 4), ("float32.cast", 6), ("half", 4),
             (f"{t}.cast", mask + 3), (f"{t}.cast", len(code) + 2)]
    code += [(f"{other}.cast", 0) for other in (*INTEGERS, "float64")]
    streams = []
    for instr in code[6:]:
        dtype, _, name = str(instr[0]).rpartition(".")
        mask_like = name in ("gt", "ge", "lt", "le", "eq")
        streams.append(dense("bool" if mask_like else dtype or "float32", 6, 19))
    inputs = (dense(t, 6, 19), Stream(t, (0, 1), 19), Stream(t, (1, 0), 6), dense("int64", 6, 19))
    return PointwiseSpec((6, 19), inputs, tuple(streams), tuple(code),
                         tuple(range(6, len(code))))


def doubles() -> PointwiseSpec:
    """All instructions on float64, and the roundings of floats to halves in memory."""
    code: list[tuple[str | int | float, ...]] = [
        ("float64.input", 0), ("float64.input", 1), ("input", 2), ("input", 3)]
    code += [(f"float64.{name}", 0, 1) for name in ("add", "sub", "mul", "div", "max", "min",
                                                    "fmod")]
    code += [(f"float64.{name}", 0) for name in ("neg", "abs", "floor", "ceil", "rint")]
    code += [("int64.cast", 0), ("uint64.cast", 0), ("int8.cast", 0), ("uint64.cast", 2),
             ("int64.cast", 2), ("float32.cast", 0), ("float32.odd", 0), ("bhalf", 2),
             ("fmod", 2, 3)]
    roots = list(range(4, len(code)))
    streams = [dense(str(i[0]).rpartition(".")[0] or "float32", 6, 19) for i in code[4:]]
    halves = [dense("float16", 6, 19), dense("bfloat16", 6, 19)]
    inputs = (dense("float64", 6, 19), dense("float64", 6, 19), dense("float16", 6, 19),
              dense("float32", 6, 19))
    return PointwiseSpec((6, 19), inputs, (*streams, *halves), tuple(code), (*roots, 3, 3))


def at_the_edges(family: Any, spec: Any, seed: int) -> dict[str, np.ndarray]:
    """Ends of the ranges, numbers beside 0 and large odd ones; small exponents and negative ones;
    halves of every exponent, numbers between and beyond them."""
    rng, found = np.random.default_rng(seed), {}
    for k, stream in enumerate(spec.inputs):
        if stream.dtype.startswith("float"):
            sizes = 2.0 ** rng.integers(-30, 18, stream.size) * rng.choice(
                [1, -1, 1.00048828125, 1.5, 1.999], stream.size)
            sizes[:8] = 0, np.nan, np.inf, -np.inf, 1e300, -1e-300, 65520, -0.5
            with np.errstate(all="ignore"):
                found[f"x{k}"] = sizes.astype(stream.dtype)
            continue
        info = np.iinfo(stream.dtype)
        wanted = [0, 1, -1, 2, -2, 7, info.min, info.min + 1, info.max, 2**24 + 1, 2**53 + 1]
        if k == 3:
            wanted = [0, 1, 2, 3, 5, 11, -1, -2]
        some = np.array([w for w in wanted if info.min <= w <= info.max], stream.dtype)
        found[f"x{k}"] = rng.choice(some, stream.size)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_typed_programs_give_the_reference_bits(way: str) -> None:
    specs = share([*map(typed, INTEGERS), doubles()], way)
    for case, got in tried(POINTWISE, specs, way, at_the_edges):
        for name, want in POINTWISE.reference(case.spec, case.arrays).items():
            root = case.spec.program[case.spec.roots[int(name[1:])]]
            message = f"{case.variant.name} {root} {case.spec.inputs[0].dtype}"
            if want.dtype.kind in "iub":
                np.testing.assert_array_equal(got[name], want, err_msg=message)
            else:
                np.testing.assert_array_equal(got[name].astype(np.float64),
                                              want.astype(np.float64), err_msg=message)


def pairs(family: Any, spec: Any, seed: int) -> dict[str, np.ndarray]:
    """Every pair of codes, and the first ones once more."""
    numbers = np.arange(65536 + 37) % 65536
    found = {}
    for i, codes in enumerate((numbers // 256, numbers % 256)):
        dtype = np.dtype(spec.inputs[i].dtype)
        found[f"x{i}"] = (codes + np.iinfo(dtype).min).astype(dtype)
    return found


@pytest.mark.parametrize("way", ["zig", pytest.param("gcc", marks=pytest.mark.gcc)])
def test_every_pair_of_codes_gives_the_code_of_the_float_arithmetic(way: str) -> None:
    assert all(spec.fitted for spec in PAIRS)
    for case, got in tried(POINTWISE, PAIRS, way, pairs):
        want = POINTWISE.reference(case.spec, case.arrays)["y0"]
        np.testing.assert_array_equal(got["y0"], want, err_msg=f"{case.variant.name} {case.spec}")


def test_no_numbers_are_found_for_what_is_not_nearly_linear() -> None:
    product: Program = (("input", 0), ("input", 1), ("mul", 0, 1))
    code = ("int8", 0.05, 0)
    assert every_pair(code, code, ("int8", 0.3, 0), product).fitted is None


@pytest.mark.parametrize("way", WAYS)
def test_curves_have_the_same_bits_in_every_variant(way: str) -> None:
    first: dict[str, np.ndarray] = {}
    for case, got in tried(POINTWISE, CURVED, way):
        first = first or got
        for name, want in POINTWISE.reference(case.spec, case.arrays).items():
            assert same_bits(got[name], first[name]), f"{case.variant.name} {name}"
            np.testing.assert_allclose(got[name], want, 4e-7, 1e-9, err_msg=name)


def half_way(family: Any, spec: Any, seed: int) -> dict[str, np.ndarray]:
    """Numbers at and beside the middle between two codes, infinities and NaN."""
    scale = np.float32(spec.outputs[0].scale)
    middles = (np.arange(-300, 300) + 0.5).astype(np.float32) * scale
    beside = [middles]
    for _ in range(2):
        beside = [np.nextafter(beside[0], np.float32(-np.inf)), *beside,
                  np.nextafter(beside[-1], np.float32(np.inf))]
    odd = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-42, 0, -0.0], np.float32)
    return {"x0": np.concatenate([*beside, odd])}


@pytest.mark.parametrize("way", ["zig", pytest.param("gcc", marks=pytest.mark.gcc)])
def test_codes_are_divided_and_rounded_exactly(way: str) -> None:
    rng = np.random.default_rng(5)
    specs = [PointwiseSpec((3008,), (dense("float32", 3008),),
                           (dense(dtype, 3008, scale=float(scale), zero_point=zero),), COPY, (0,))
             for scale in np.exp(rng.uniform(-12, 3, 10)).astype(np.float32)
             for dtype, zero in (("int8", -11), ("uint8", 200))]
    for case, got in tried(POINTWISE, specs, way, half_way):
        want = POINTWISE.reference(case.spec, case.arrays)["y0"]
        np.testing.assert_array_equal(got["y0"], want, err_msg=f"{case.variant.name} {case.spec}")


def test_unwritten_bytes_stay_and_gaps_are_not_read() -> None:
    spec: Any = SPECS[4]
    arrays = random_arrays(POINTWISE, spec)
    y = POINTWISE.reference(spec, arrays)["y0"].view(np.uint32).reshape(6, 40)
    assert (y[:, 1::2] == 0xA5A5A5A5).all()
