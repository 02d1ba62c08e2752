"""What the fuzzers once found is taken, or refused by one of the project's own errors."""

import tracemalloc
from pathlib import Path

import pytest
from tests.fuzz.readers import READERS, accepts_or_explains

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(path for path in CORPUS.glob("*/*"))
MAX_BYTES = 1 << 29
"""Of Python's and NumPy's memory at any one time."""


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name[:16]}")
def test_what_was_found_is_accepted_or_explained(path: Path) -> None:
    tracemalloc.start()
    accepts_or_explains(READERS[path.parent.name], path.read_bytes())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MAX_BYTES


def test_every_kind_of_file_has_a_reader_under_fuzzing() -> None:
    assert {path.parent.name for path in FOUND} <= set(READERS)
    assert {"onnx", "tflite", "keras", "npy", "npz", "csv", "wav", "image", "checkpoint",
            "tuning-cache", "manifest"} <= set(READERS)
