import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.networks import NETWORKS

from ganglion.emit.c import describe, emit
from ganglion.emit.literals import bytes_literal
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan


@given(st.binary(max_size=300))
def test_a_literal_reads_back_as_its_bytes(data: bytes) -> None:
    text = bytes_literal(data)
    read = ast.literal_eval("(" + text.replace("\n", " ") + ")") if text else ""
    assert read.encode("latin-1") == data


@given(st.binary(max_size=300))
def test_a_literal_is_ascii_without_trigraphs(data: bytes) -> None:
    text = bytes_literal(data)
    assert text.isascii()
    assert "??" not in text


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_plan_gives_the_same_text(name: str) -> None:
    found = plan(ready_to_plan(NETWORKS[name]()))
    assert emit(found) == emit(found)


@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_generated_c_calls_nothing_of_a_library_but_memcpy_and_memset(name: str) -> None:
    source = emit(plan(ready_to_plan(NETWORKS[name]()), name="net"))["net.c"]
    for banned in ("malloc", "printf", "math.h", "stdlib.h", "stdio.h", "expf(", "tanhf("):
        assert banned not in source
    includes = [line for line in source.splitlines() if line.startswith("#include <")]
    assert set(includes) <= {"#include <stddef.h>", "#include <stdint.h>", "#include <string.h>"}


def test_the_description_names_ports_and_sizes() -> None:
    found = plan(ready_to_plan(NETWORKS["two_heads"]()), name="net")
    text = json.dumps(describe(found))
    assert json.loads(text)["inputs"][0]["shape"] == [1, 5]
    assert [p["shape"] for p in json.loads(text)["outputs"]] == [[1, 3], [1, 2]]
