"""Parts of kernels' work: together they give the whole's bits, each writing its own results."""

import zlib
from typing import Any

import numpy as np
import pytest
from tests.support.kernel_lab import Case, run
from tests.support.kernel_law import native_isas, random_arrays

from ganglion.kernels.base import Family, Part
from ganglion.kernels.conv2d_spec import Conv2dSpec
from ganglion.kernels.conv_transpose import ConvTransposeSpec
from ganglion.kernels.hybrid import HybridConvSpec, HybridMatMulSpec
from ganglion.kernels.matmul import Epilogue, MatMulSpec, Requant
from ganglion.kernels.normalize import BatchNormSpec, LayerNormSpec
from ganglion.kernels.pointwise import PointwiseSpec, Stream
from ganglion.kernels.pool import PoolSpec
from ganglion.kernels.reduce import ReduceSpec
from ganglion.kernels.registry import families
from ganglion.kernels.softmax import SoftmaxSpec
from ganglion.kernels.split import parts, sizes
from ganglion.kernels.table import TableSpec
from ganglion.kernels.top_k import TopKSpec

CODES = Requant(x_zero_point=-3, zero_point=5, lo=-128, hi=127)
ADD = Epilogue((("input", 0), ("input", 1), ("add", 0, 1)), 1)
WIDE = (Stream("float32", (24, 1), 288), Stream("float32", (0, 1), 24))

SPECS: list[tuple[str, Any]] = [
    ("conv2d", Conv2dSpec("float32", 1, 13, 9, 5, 20, (3, 3), pads=(1, 1, 1, 1), epilogue=ADD)),
    ("conv2d", Conv2dSpec("float32", 1, 16, 16, 16, 16, (3, 3), pads=(1, 1, 1, 1))),
    ("conv2d", Conv2dSpec("float32", 1, 17, 8, 4, 6, (5, 3), (2, 1), (2, 1), (3, 1, 4, 1), 2)),
    ("conv2d", Conv2dSpec("float32", 1, 9, 7, 8, 40, (1, 1))),
    ("conv2d", Conv2dSpec("float32", 5, 4, 4, 3, 8, (3, 3))),
    ("conv2d", Conv2dSpec("int8", 1, 12, 10, 8, 24, (3, 3), (2, 2), pads=(1, 1, 0, 1),
                          requant=CODES)),
    ("conv2d", Conv2dSpec("int8", 1, 8, 9, 12, 33, (1, 1), requant=CODES)),
    ("depthwise", Conv2dSpec("float32", 1, 14, 9, 20, 20, (3, 3), pads=(1, 1, 1, 1), groups=20)),
    ("depthwise", Conv2dSpec("int8", 1, 15, 12, 20, 20, (3, 3), (2, 2), pads=(0, 0, 1, 1),
                             groups=20, requant=CODES)),
    ("conv_transpose", ConvTransposeSpec("float32", 1, 7, 6, 5, 9, (4, 3), (14, 12), (2, 2),
                                         pads=(1, 0))),
    ("conv_transpose", ConvTransposeSpec("float32", 1, 6, 5, 4, 4, (3, 3), (8, 7), groups=2)),
    ("hybrid_conv2d", HybridConvSpec("float32", 5, 4, 4, 3, 8, (3, 3), epilogue=ADD)),
    ("hybrid_matmul", HybridMatMulSpec(33, 40, 24, bias=True, epilogue=ADD)),
    ("matmul", MatMulSpec("float32", 1, 33, 40, 24, bias=True, epilogue=ADD)),
    ("matmul", MatMulSpec("float32", 1, 1, 170, 48, bias=True)),
    ("matmul", MatMulSpec("float32", 1, 1, 96, 40, trans_b=True, b_const=False)),
    ("matmul", MatMulSpec("float32", 6, 8, 10, 12, a_batch=96, b_batch=120, b_const=False)),
    ("matmul", MatMulSpec("int8", 1, 30, 20, 24, bias=True, requant=CODES)),
    ("matmul", MatMulSpec("int8", 1, 1, 160, 32, bias=True, requant=CODES)),
    ("pool", PoolSpec("max", "float32", 1, 11, 8, 20, (3, 3), (6, 4), (2, 2), pads=(1, 1))),
    ("pool", PoolSpec("average", "int8", 1, 9, 9, 17, (3, 3), (9, 9), pads=(1, 1),
                      multiplier=1.37, x_zero_point=-4, zero_point=7)),
    ("pool", PoolSpec("average", "float32", 3, 5, 5, 8, (5, 5), (1, 1))),
    ("pointwise", PointwiseSpec((12, 24), WIDE, (WIDE[0],), ADD.program, (2,))),
    ("pointwise", PointwiseSpec((200,), (Stream("float32", (1,), 200),),
                                (Stream("int8", (1,), 200, 0.02, 3),),
                                (("input", 0), ("tanh", 0)), (1,))),
    ("softmax", SoftmaxSpec("float32", 9, 20, 1)),
    ("layer_norm", LayerNormSpec(10, 33, 1e-5, statistics=True)),
    ("batch_norm", BatchNormSpec(11, 20, 1e-3)),
    ("reduce", ReduceSpec("mean", "float32", 8, 30, 5)),
    ("table", TableSpec("int8", "int8", 300)),
    ("top_k", TopKSpec("float32", 7, 9, 2, 3)),
]
MOST = 4


def _cut(family: Family[Any], spec: Any) -> list[tuple[Any, tuple[Part, ...]]]:
    """Every variant that this machine runs, with its parts of each size."""
    isas = native_isas()
    return [(variant, found) for variant in family.variants
            if variant.isa.name in isas and variant.accepts(spec)
            for size in sizes(family, spec, variant, MOST)
            if (found := parts(family, spec, variant, size))]


def _chosen(family: Family[Any], spec: Any, turn: int) -> list[tuple[Any, tuple[Part, ...]]]:
    """The variant that a plan would choose, and two others, with one way of dividing each, in turn:
    compiling takes the time."""
    ways: dict[str, list[tuple[Any, tuple[Part, ...]]]] = {}
    for variant, cut in sorted(_cut(family, spec), key=lambda way: way[0].cost(spec)):
        ways.setdefault(variant.name, []).append((variant, cut))
    first, *others = [each[turn % len(each)] for each in ways.values()]
    step = max(len(others) // 2, 1)
    return [first, *others[turn % step::step][:2]]


def _arrays(family: Family[Any], spec: Any) -> dict[str, np.ndarray]:
    arrays = random_arrays(family, spec, zlib.crc32(repr(spec).encode()))
    if "var" in arrays:
        arrays["var"] = np.abs(arrays["var"]) + 0.1
    return arrays


def _of_part(family: Family[Any], part: Part, arrays: dict[str, np.ndarray]
             ) -> dict[str, np.ndarray]:
    """What a part sees of the whole's operands."""
    found = {}
    for o in family.operands(part.spec):
        if o.name in part.constants:
            found[o.name] = part.constants[o.name].of(arrays[o.name]).reshape(-1)
        elif o.role != "output":
            start = part.starts.get(o.name, 0)
            found[o.name] = arrays[o.name].reshape(-1)[start:start + o.size]
    return found


def _together(family: Family[Any], spec: Any, cut: tuple[Part, ...],
              results: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The parts' results in their places of the whole's."""
    outputs = [o for o in family.operands(spec) if o.role == "output"]
    whole = {o.name: np.zeros(o.size, o.dtype) for o in outputs}
    for part, result in zip(cut, results):
        for o in outputs:
            start = part.starts.get(o.name, 0)
            whole[o.name][start:start + result[o.name].size] = result[o.name].reshape(-1)
    return whole


def test_every_family_that_divides_is_tried() -> None:
    dividing = {name for name, family in families().items() if family.cut is not None}
    assert {name for name, _ in SPECS} == dividing


@pytest.mark.parametrize(("name", "spec"), SPECS, ids=lambda v: v if isinstance(v, str) else "")
def test_parts_write_every_result_once(name: str, spec: Any) -> None:
    family = families()[name]
    cuts = _cut(family, spec)
    assert cuts
    for _, cut in cuts:
        for output in (o for o in family.operands(spec) if o.role == "output"):
            written = np.zeros(output.size, int)
            for part in cut:
                size = next(o.size for o in family.operands(part.spec) if o.name == output.name)
                start = part.starts.get(output.name, 0)
                written[start:start + size] += 1
            assert (written == 1).all()


@pytest.mark.parametrize(("name", "spec"), SPECS, ids=lambda v: v if isinstance(v, str) else "")
def test_parts_mean_together_what_the_whole_means(name: str, spec: Any) -> None:
    family = families()[name]
    arrays = _arrays(family, spec)
    expected = family.reference(spec, arrays)
    for cut in {tuple(repr(p) for p in cut): cut for _, cut in _cut(family, spec)}.values():
        results = [family.reference(p.spec, _of_part(family, p, arrays)) for p in cut]
        for output, found in _together(family, spec, cut, results).items():
            np.testing.assert_allclose(found, expected[output].reshape(-1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("half", [0, 1])
def test_parts_give_the_bits_of_the_whole(half: int) -> None:
    groups = []
    for name, spec in SPECS[half::2]:
        family = families()[name]
        arrays = _arrays(family, spec)
        groups += [(family, variant, spec, arrays, cut)
                   for variant, cut in _chosen(family, spec, len(groups))]
    cases = []
    for family, variant, spec, arrays, cut in groups:
        cases.append(Case(family, variant, spec, arrays))
        cases += [Case(family, variant, p.spec, _of_part(family, p, arrays)) for p in cut]
    results = iter(run(cases, extra_flags=["-O1"]))
    for family, variant, spec, _, cut in groups:
        whole = next(results)
        found = _together(family, spec, cut, [next(results) for _ in cut])
        for output, expected in whole.items():
            assert found[output].tobytes() == expected.tobytes(), (variant.name, spec, output)
