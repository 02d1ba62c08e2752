"""Whatever bytes a .tflite file holds, the loader gives a Model or an error of this project."""

import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tflite_examples import examples, lstm_example
from tests.support.tflite_files import TfliteFile
from tests.support.tflite_quantized import quantized_examples

from ganglion.errors import GanglionError
from ganglion.formats.tflite.file import read_network
from ganglion.formats.tflite.read.network import load_tflite
from ganglion.formats.tflite.read.rows import ROWS
from ganglion.formats.tflite.schema import ROWS as SCHEMA
from ganglion.formats.tflite.schema import Table, fields
from ganglion.passes.pipeline import prepare

MODELS = os.environ.get("GANGLION_MODELS")


def small_network() -> bytes:
    """Convolution, pool, a shape computed from a shape, dense: int8, with an open batch."""
    rng = np.random.default_rng(0)
    file = TfliteFile()
    x = file.tensor([1, 6, 6, 2], "int8", scale=0.1, zero=3, signature=[-1, 6, 6, 2])
    w = file.constant(rng.integers(-127, 128, (4, 3, 3, 2)).astype(np.int8),
                      scale=[0.1, 0.2, 0.1, 0.3], zero=0)
    b = file.constant(rng.integers(-99, 99, 4).astype(np.int32))
    c, p = (file.tensor([1, n, n, 4], "int8", scale=0.2, zero=-128) for n in (6, 3))
    shape, first, packed = file.tensor([4], "int32"), file.tensor([], "int32"), file.tensor(
        [2], "int32")
    zero, one, rest = (file.constant(np.int32([k]) if k < 36 else np.int32(k))
                       for k in (0, 1, 36))
    flat = file.tensor([1, 36], "int8", scale=0.2, zero=-128)
    k = file.constant(rng.integers(-127, 128, (3, 36)).astype(np.int8), scale=0.1, zero=0)
    y = file.tensor([1, 3], "int8", scale=0.5, zero=1)
    file.op("CONV_2D", [x, w, b], [c], ("Conv2DOptions", {
        "padding": 0, "stride_h": 1, "stride_w": 1, "fused_activation_function": 1}))
    file.op("MAX_POOL_2D", [c], [p], ("Pool2DOptions", {
        "padding": 1, "stride_h": 2, "stride_w": 2, "filter_width": 2, "filter_height": 2}))
    file.op("SHAPE", [p], [shape], ("ShapeOptions", {"out_type": 2}))
    file.op("STRIDED_SLICE", [shape, zero, one, one], [first],
            ("StridedSliceOptions", {"shrink_axis_mask": 1}))
    file.op("PACK", [first, rest], [packed], ("PackOptions", {"values_count": 2}))
    file.op("RESHAPE", [p, packed], [flat])
    file.op("FULLY_CONNECTED", [flat, k, -1], [y], ("FullyConnectedOptions", {}))
    return file.build([x], [y])


def seeds() -> list[bytes]:
    """Small files of many operators."""
    return [small_network(), lstm_example(np.random.default_rng(0)).data,
            *(e.data for e in examples()[::3]), *(q.data for q in quantized_examples("int8")[::2])]


def accepts_or_explains(data: bytes, path: Path) -> bool:
    """Whether the file was accepted; anything but an error of this project passes through."""
    path.write_bytes(data)
    try:
        prepare(load_tflite(path))
    except GanglionError:
        return False
    return True


def places_read(data: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Where the loader reads numbers in an intact file, and as what."""
    seen: dict[tuple[int, str], None] = {}
    plain = Table._unpack

    def noting(self: Table, code: str, place: int) -> int | float:
        seen[place, code] = None
        return plain(self, code, place)

    monkeypatch.setattr(Table, "_unpack", noting)
    assert accepts_or_explains(data, path)
    monkeypatch.undo()
    return list(seen)


def mutated(data: bytes, place: int, code: str, rng: random.Random) -> bytes:
    """The number at `place` replaced by one that hurts."""
    width = struct.calcsize(code)
    value = int.from_bytes(data[place:place + width], "little")
    top = 256 ** width
    new = rng.choice((0, 1, top - 1, top // 2, top // 2 - 1, (value + 1) % top,
                      (value - 1) % top, len(data) % top, (value + 4) % top, value * 2 % top,
                      value ^ 1 << rng.randrange(8 * width)))
    return data[:place] + new.to_bytes(width, "little") + data[place + width:]


def test_every_number_of_the_structure_may_be_wrong(tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(21)
    path, accepted, tried = tmp_path / "net.tflite", 0, 0
    for index, data in enumerate(seeds()):
        places = places_read(data, path, monkeypatch)
        for place, code in places if index < 2 else rng.sample(places, 12):
            accepted += accepts_or_explains(mutated(data, place, code, rng), path)
            tried += 1
    assert 0 < accepted < tried


def test_any_byte_may_be_wrong(tmp_path: Path) -> None:
    rng = random.Random(22)
    files, path = seeds(), tmp_path / "net.tflite"
    for _ in range(400):
        data = bytearray(rng.choice(files))
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        accepts_or_explains(bytes(data), path)


def test_file_cut_anywhere_is_explained(tmp_path: Path) -> None:
    data, path = small_network(), tmp_path / "net.tflite"
    for cut in range(0, len(data) - 8, 9):
        accepts_or_explains(data[:cut], path)
    for cut in (0, 3, 7, 8, len(data) // 2):
        assert not accepts_or_explains(data[:cut], path)


def test_pieces_of_two_files_are_explained(tmp_path: Path) -> None:
    rng = random.Random(23)
    files, path = seeds(), tmp_path / "net.tflite"
    for _ in range(150):
        one, two = rng.choice(files), rng.choice(files)
        cut = rng.randrange(8, len(one))
        accepts_or_explains(one[:cut] + two[rng.randrange(len(two)):], path)


@settings(max_examples=60, deadline=None, database=None)
@given(st.binary(max_size=200))
def test_noise_is_explained(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.tflite"
    assert not accepts_or_explains(data, path)
    assert not accepts_or_explains(struct.pack("<I", len(data) // 2) + b"TFL3" + data, path)


@pytest.mark.skipif(MODELS is None, reason="GANGLION_MODELS names no folder of real networks")
def test_real_files_with_wrong_numbers_are_explained(tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(24)
    path = tmp_path / "net.tflite"
    for file in sorted(Path(str(MODELS)).glob("*.tflite")):
        data = file.read_bytes()
        for place, code in rng.sample(places_read(data, path, monkeypatch), 12):
            accepts_or_explains(mutated(data, place, code, rng), path)
        for _ in range(3):
            accepts_or_explains(data[:rng.randrange(len(data))], path)


TABLES = [name for name in SCHEMA if name.endswith("Options")]
NUMBERS = (-2**31, -7, -2, -1, 0, 1, 2, 3, 4, 9, 2**31 - 1)
KINDS = ("float32", "float32", "int8", "uint8", "int32", "int64", "bool", "int16", "STRING")


def drawn(kind: str, rng: random.Random) -> object:
    """A value for an option of this kind."""
    if kind == "ints":
        return [rng.choice(NUMBERS) for _ in range(rng.randrange(4))]
    return rng.choice(NUMBERS if kind == "i32" else (0, 1) if kind == "bool" else (0, 1, 2, 5))


def hostile_operator(name: str, table: str | None, rng: random.Random) -> bytes:
    """An operator with operands and options that need not fit it."""
    file, ports, reads = TfliteFile(), [], []
    for _ in range(rng.choice((1, 2, 2, 3, 3, 4, 12))):
        kind = rng.choice(KINDS)
        rank = rng.choice((0, 1, 1, 2, 3, 4, 4, 5))
        shape = [rng.choice((0, 1, 2, 2, 3, 4)) for _ in range(rank)]
        scale = {"scale": 0.5, "zero": 0} if kind in ("int8", "uint8", "int16", "int32") else {}
        if rng.random() < 0.5:
            numbers = np.array([rng.choice(NUMBERS) for _ in range(int(np.prod(shape)))])
            array = numbers.astype("float32" if kind == "STRING" else kind).reshape(shape)
            scale = scale if rng.random() < 0.3 else {}
            reads.append(file.constant(array, **scale))
        else:
            reads.append(file.tensor(shape, kind, **(scale if rng.random() < 0.7 else {})))
            ports.append(reads[-1])
    reads = [-1 if rng.random() < 0.05 else k for k in reads]
    options = None if table is None else (table, {
        field: drawn(row.kind, rng) for field, row in fields(table).items()
        if field not in ("new_height", "new_width")})
    outputs = [file.tensor([2, 2], rng.choice(KINDS), signature=[-1, -1],
                           **({"scale": 0.1, "zero": 1} if rng.random() < 0.3 else {}))
               for _ in range(rng.choice((1, 1, 1, 2)))]
    file.op(name, reads, outputs, options)
    return file.build(ports, outputs)


def test_any_operator_with_any_operands_is_explained(tmp_path: Path) -> None:
    rng = random.Random(25)
    known = {o.name: o.options and o.options.name for e in examples()
             for o in read_network(e.data).operators}
    accepted = 0
    for name in ROWS:
        for _ in range(8):
            table = known.get(name) if rng.random() < 0.9 else rng.choice(TABLES)
            accepted += accepts_or_explains(hostile_operator(name, table, rng),
                                            tmp_path / "net.tflite")
    assert accepted > 0
