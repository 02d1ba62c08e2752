"""Laws of Session, over both bindings."""

import threading

import numpy as np
import pytest
from tests.support.hand_made import built

from ganglion.errors import DataError
from ganglion.runtime import Session

RNG = np.random.default_rng(7)


def linear(x):
    return 2 * x[:, :1] - 3 * x[:, 1:] + np.float32(0.5)


def test_session_describes_the_network(session):
    mixed = session("MIXED")
    assert mixed.name == "mixed"
    assert [p.name for p in mixed.inputs] == ["image", "gain", "label", "flip"]
    assert mixed.inputs[0].shape == (1, 2, 3)
    assert mixed.inputs[0].dtype == np.int8
    assert (mixed.inputs[0].scale, mixed.inputs[0].zero_point) == (0.5, -3)
    assert (mixed.arena_bytes, mixed.state_bytes) == (64, 0)
    assert mixed.description["digest"] == "0123abcd"


def test_single_output_is_an_array_and_several_a_tuple(session):
    x = np.array([[1, 2]], np.float32)
    assert np.array_equal(session("LINEAR").run(x), linear(x))
    image = np.arange(6, dtype=np.int8).reshape(1, 2, 3)
    total, code = session("MIXED").run(image, np.array([2], np.float32), np.array([7], np.int32),
                                       np.array([True]))
    assert np.array_equal(total, (image[0, 0] + image[0, 1])[None, ::-1] * np.float32(2))
    assert np.array_equal(code, np.array([[7, 1]], np.uint8))


def test_inputs_by_name_equal_inputs_by_position(session):
    mixed = session("MIXED")
    values = {"flip": np.array([False]), "label": np.array([3]), "gain": np.array([0.5]),
              "image": np.ones((1, 2, 3), np.int8)}
    for by_name, by_place in zip(mixed.run(values), mixed.run(*[values[p.name]
                                                                for p in mixed.inputs])):
        assert np.array_equal(by_name, by_place)


@pytest.mark.parametrize("make", [
    lambda x: x.astype(">f4"), lambda x: x.astype(np.float64), lambda x: np.asfortranarray(x),
    lambda x: np.repeat(x, 2, axis=1)[:, ::2], lambda x: x.tolist(), lambda x: x.astype(np.int64),
    lambda x: np.frombuffer(b"0" + x.tobytes(), np.float32, offset=1).reshape(x.shape),
    lambda x: x[::-1][::-1], lambda x: x.astype(np.float16)],
    ids=["big-endian", "float64", "fortran", "strided", "list", "int64", "unaligned", "negative",
         "float16"])
def test_run_converts_what_loses_no_meaning(session, make):
    x = RNG.integers(-9, 9, (5, 2)).astype(np.float32)
    assert np.array_equal(session("LINEAR").run(make(x)), linear(x))


def test_run_never_writes_to_its_inputs_nor_shares_memory_with_its_outputs(session):
    x = RNG.random((3, 2), np.float32)
    x.flags.writeable = False
    network = session("LINEAR")
    first = network.run(x)
    kept = first.copy()
    network.run(x + 1)
    assert np.array_equal(first, kept)
    assert not np.shares_memory(first, x)


def test_nan_and_infinity_pass_through(session):
    x = np.array([[np.nan, 1], [np.inf, 1]], np.float32)
    got = session("LINEAR").run(x)
    assert np.isnan(got[0, 0])
    assert np.isposinf(got[1, 0])


@pytest.mark.parametrize(("value", "words"), [
    (np.zeros((1, 3), np.float32), ["'x'", "[1, 3]", "[rows, 2]"]),
    (np.zeros(2, np.float32), ["'x'", "[2]", "x[None]"]),
    (np.zeros((1, 2), np.complex64), ["'x'", "complex64", "float32"]),
    (np.array([["a", "b"]]), ["'x'", "<U1", "float32"]),
    (np.array([[None, 1]], object), ["'x'", "object", "float32"]),
    ([[1.0], [1.0, 2.0]], ["'x'", "no array"]),
    (np.array([[1e300, 0]]), ["'x'", "too large", "float32"]),
])
def test_run_refuses_with_name_found_and_expected(session, value, words):
    with pytest.raises(DataError) as refused:
        session("LINEAR").run(value)
    for word in words:
        assert word in str(refused.value)


def test_floats_into_a_quantised_input_are_refused_with_the_way_to_quantise(session):
    mixed = session("MIXED")
    rest = [np.array([1], np.float32), np.array([1]), np.array([True])]
    with pytest.raises(DataError, match=r"scale 0\.5 and zero point -3.*quantize_input"):
        mixed.run(np.zeros((1, 2, 3), np.float32), *rest)
    with pytest.raises(DataError, match="int8"):
        mixed.run(np.full((1, 2, 3), 300), *rest)
    with pytest.raises(DataError, match=r"'flip'.*astype"):
        mixed.run(np.zeros((1, 2, 3), np.int8), *rest[:2], np.array([1]))


def test_quantising_rounds_half_to_even_and_saturates(session):
    mixed = session("MIXED")
    real = np.array([0.25, 0.75, -0.25, 1000, -1000, 1.5], np.float32)
    # real / 0.5: 0.5, 1.5, -0.5, far, far, 3; half to even: 0, 2, 0; then zero point -3
    expected = np.array([-3, -1, -3, 127, -128, 0], np.int8)
    assert np.array_equal(mixed.quantize_input(real), expected)
    assert mixed.quantize_input(real).dtype == np.int8
    assert np.array_equal(mixed.dequantize_output(np.array([10, 0, 255], np.uint8), 1),
                          np.array([0, -2.5, 61.25], np.float32))
    with pytest.raises(DataError, match="NaN"):
        mixed.quantize_input(np.array([np.nan]))
    with pytest.raises(DataError, match="not quantised"):
        mixed.quantize_input(real, 1)
    with pytest.raises(DataError, match="not quantised"):
        mixed.dequantize_output(real, 0)


def test_wrong_number_or_names_of_inputs_are_told(session):
    x = np.zeros((1, 2), np.float32)
    network = session("LINEAR")
    with pytest.raises(DataError, match=r"found 2 input arrays, expected 1.*float32\[1, 2\]"):
        network.run(x, x)
    with pytest.raises(DataError, match="found 0"):
        network.run()
    with pytest.raises(DataError, match=r"'z'.*'x'"):
        network.run({"z": x})
    with pytest.raises(DataError, match="mapping"):
        session("MIXED").run({"image": x}, x, x, x)


def test_rows_equal_single_calls_whatever_the_threads(session):
    slow = session("SLOW")
    x = RNG.random((37, 64), np.float32)
    one_by_one = np.concatenate([slow.run(row[None]) for row in x])
    for threads in (None, 1, 2, 5):
        assert np.array_equal(slow.run(x, threads=threads), one_by_one)


def test_no_rows_give_no_rows(session):
    assert session("LINEAR").run(np.zeros((0, 2), np.float32)).shape == (0, 1)


def test_inputs_with_different_rows_are_refused(session):
    with pytest.raises(DataError, match=r"'image' has 2.*'gain' has 3"):
        session("MIXED").run(np.zeros((2, 2, 3), np.int8), np.zeros(3), np.zeros(2, int),
                             np.zeros(2, bool))


def test_rows_of_several_inputs_and_outputs_stay_together(session):
    image = RNG.integers(-50, 50, (6, 2, 3)).astype(np.int8)
    gain, label = RNG.random(6, np.float32), np.arange(6, dtype=np.int32)
    flip = np.array([0, 1, 1, 0, 1, 0], bool)
    total, code = session("MIXED").run(image, gain, label, flip)
    plain = image.astype(np.int32).sum(axis=1).astype(np.float32) * gain[:, None]
    assert np.array_equal(total, np.where(flip[:, None], plain[:, ::-1], plain))
    assert np.array_equal(code, np.stack([label, flip], axis=1).astype(np.uint8))


def test_a_network_of_fixed_batch_takes_only_its_own_shape(session):
    pair = session("PAIR")
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    assert np.array_equal(pair.run(x), np.array([1, 5], np.float32))
    with pytest.raises(DataError, match=r"\[4, 2\], expected \[2, 2\]"):
        pair.run(np.zeros((4, 2), np.float32))


def test_no_thread_at_all_is_refused(session):
    with pytest.raises(DataError, match="threads=0"):
        session("LINEAR").run(np.zeros((3, 2), np.float32), threads=0)


def test_run_into_writes_the_given_array(session):
    x, y = np.array([[4, 1]], np.float32), np.full((1, 1), 99, np.float32)
    network = session("LINEAR")
    network.run_into(x, y)
    assert y[0, 0] == 5.5
    network.run_into([x], (y,))
    assert y[0, 0] == 5.5


@pytest.mark.parametrize(("x", "y", "words"), [
    (np.zeros((1, 2), ">f4"), np.zeros((1, 1), np.float32), ["input 'x'", "byte order"]),
    (np.zeros((1, 2)), np.zeros((1, 1), np.float32), ["input 'x'", "float64", "float32"]),
    (np.zeros((2, 2), np.float32), np.zeros((1, 1), np.float32), ["input 'x'", "[2, 2]", "[1, 2]"]),
    (np.zeros((1, 4), np.float32)[:, ::2], np.zeros((1, 1), np.float32), ["'x'", "contiguous"]),
    ([np.zeros((1, 2), np.float32)] * 2, np.zeros((1, 1), np.float32), ["found 2 input"]),
    ([[1.0, 2.0]], np.zeros((1, 1), np.float32), ["'x'", "list"]),
    (None, np.zeros((1, 1), np.float32), ["'x'", "NoneType"]),
    (np.zeros((1, 2), np.float32), {"y": 1}, ["'y'", "dict"]),
    (np.zeros((1, 2), np.float32), np.zeros((1, 1), np.float64), ["output 'y'", "float64"]),
    (np.zeros((1, 2), np.float32), np.zeros(1, np.float32), ["output 'y'", "[1]", "[1, 1]"]),
    (np.zeros((1, 2), np.float32), np.broadcast_to(np.float32(0), (1, 1)), ["'y'", "read-only"]),
    (np.frombuffer(b"0" * 9, np.float32, offset=1).reshape(1, 2), np.zeros((1, 1), np.float32),
     ["'x'", "aligned"]),
])
def test_run_into_refuses_what_it_would_have_to_copy(session, x, y, words):
    with pytest.raises(DataError) as refused:
        session("LINEAR").run_into(x, y)
    for word in words:
        assert word in str(refused.value)


def test_run_into_refuses_outputs_that_overlap_inputs(session):
    block = np.zeros(3, np.float32)
    with pytest.raises(DataError, match="'y' overlaps"):
        session("LINEAR").run_into(block[:2].reshape(1, 2), block[1:2].reshape(1, 1))
    session("LINEAR").run_into(block[:2].reshape(1, 2), block[2:].reshape(1, 1))
    assert block[2] == 0.5


def test_threads_share_a_session_without_mixing_their_work(session):
    slow = session("SLOW")
    x = RNG.random((4, 25, 1, 64), np.float32)
    expected = [[slow.run(row) for row in rows] for rows in x[:, :3]]
    wrong = []

    def work(rows, wanted):
        y = np.empty((1, 64), np.float32)
        for k, row in enumerate(rows):
            slow.run_into(row, y)
            if k < 3 and not np.array_equal(y, wanted[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(x, expected)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_other_threads_run_while_a_network_computes(session):
    slow = session("SLOW")
    x, y = np.zeros((1, 64), np.float32), np.empty((1, 64), np.float32)
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(1)
            stop.wait(0.0002)

    other = threading.Thread(target=tick)
    other.start()
    before = len(ticks)
    for _ in range(300):
        slow.run_into(x, y)
    after = len(ticks)
    stop.set()
    other.join()
    assert after > before


def test_bindings_give_the_same_bits():
    pytest.importorskip("ganglion.runtime._session")
    x = RNG.standard_normal((9, 64)).astype(np.float32)
    answers = [Session.from_files(built("SLOW"), binding=b).run(x) for b in ("cython", "ctypes")]
    assert np.array_equal(*answers)
