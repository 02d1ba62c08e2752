"""ONNX's own conformance suite: what is loaded and prepared answers as the standard says."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase as Case

from ganglion.errors import GanglionError
from ganglion.formats.onnx.reader import load_onnx
from ganglion.ops.evaluate import evaluate
from ganglion.ops.registry import find
from ganglion.passes.pipeline import prepare

OTHER_MEANING = {
    "test_celu_bfloat16": "computed in float32, not in bfloat16",
    "test_quantizelinear_blocked_symmetric": "blocks of scales with output_dtype",
    "test_resize_downsample_scales_linear_align_corners": "the row rounds sizes first",
    "test_reduce_max_empty_set": "a maximum of nothing", "test_reduce_min_empty_set": "likewise",
    "test_reduce_max_empty_set_bool": "a maximum of nothing",
}
"""Cases that a reader should know to differ, with the reason."""
SKIPPED_WORDS = ("expanded", "float8", "float4", "float6", "int2", "int4", "INT4", "cast",
                 "attention", "training", "bf16")


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    with warnings.catch_warnings():
        # The suite computes what it expects with overflows and empty arrays.
        warnings.simplefilter("ignore")
        return [c for c in collect_testcases(None) if c.model is not None and c.data_sets
                and c.name not in OTHER_MEANING and not any(w in c.name for w in SKIPPED_WORDS)
                and all(find(n.domain, n.op_type) for n in c.model.graph.node)]


def static_files(cases: list[Case], folder: Path) -> Iterator[tuple[Case, Path]]:
    """Each case as a file whose inputs but the first are constants, as shapes and weights are."""
    for case in cases:
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        given = [np.asarray(a) for a in case.data_sets[0][0]]
        if any(a.dtype == object for a in given):
            continue
        for info, array in list(zip(model.graph.input, given))[1:]:
            model.graph.initializer.append(numpy_helper.from_array(array, info.name))
        path = folder / "case.onnx"
        path.write_bytes(model.SerializeToString())
        yield case, path


def answers_alike(case: Case, path: Path) -> bool | None:
    """None where the front end or a pass refuses the case, with an error of this project."""
    try:
        model = prepare(load_onnx(path))
    except GanglionError:
        return None
    feeds = {}
    if model.graph.inputs:
        array = np.asarray(case.data_sets[0][0][0])
        feeds[model.graph.inputs[0].name] = (array.astype(np.float32)
                                             if array.dtype.kind == "f" else array)
    try:
        made = evaluate(model, feeds)
    except GanglionError:
        return None
    for info, expected in zip(case.model.graph.output, case.data_sets[0][1]):
        found = made[info.name]
        # float16 cases were computed in float16.
        loose = np.asarray(expected).dtype.itemsize < 4
        if found.shape != expected.shape or not np.allclose(
                found.astype(float), expected.astype(float), rtol=2e-2 if loose else 1e-3,
                atol=1e-5, equal_nan=True):
            return False
    return True


def test_conformance_suite_is_answered_as_the_standard_says(cases: list[Case],
                                                            tmp_path: Path) -> None:
    answers = {case.name: answers_alike(case, path)
               for case, path in static_files(cases, tmp_path)}
    assert [name for name, alike in answers.items() if alike is False] == []
    answered = sum(alike is True for alike in answers.values())
    assert answered > 0.85 * len(answers)
    assert answered > 300
