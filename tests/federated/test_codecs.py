"""Codecs and messages: what comes out is what went in, up to what each says; damage is noticed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganglion import federated as fed
from ganglion.errors import DataError
from ganglion.federated.device import lattice
from ganglion.federated.device.bits import Reader, pack
from ganglion.federated.device.messages import Answer, Task

SIZES = [300, 7, 1, 92]
CODECS = [fed.Dense(), fed.Stochastic(2), fed.Stochastic(3), fed.Stochastic(16), fed.TopK(0.1),
          fed.TopK(1.0), fed.TopK(0.05, fed.Stochastic(4))]


def points(seed: int = 0, scale: float = 2000.0) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).laplace(size=sum(SIZES)) * scale).astype(np.int64)


def draw() -> np.random.Generator:
    return np.random.default_rng(5)


@given(st.lists(st.one_of(st.just(0), st.integers(-3, 3), st.integers(-2**31 + 1, 2**31 - 1)),
                min_size=1, max_size=60))
def test_packed_numbers_come_back(numbers: list[int]) -> None:
    packed = np.array(numbers, np.int64)
    reader = Reader.over(pack(packed))
    assert np.array_equal(reader.numbers(len(packed)), packed)
    assert reader.left == 0


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3])
def test_sparse_numbers_take_little_more_than_their_entropy(density: float) -> None:
    """Shannon: no code takes less than the entropy on average; this one at most 6 % more."""
    drawn = np.random.default_rng(1)
    numbers = np.where(drawn.random(20_000) < density, drawn.geometric(0.7, 20_000), 0)
    numbers *= drawn.choice([-1, 1], 20_000)
    _, counts = np.unique(numbers, return_counts=True)
    share = counts / counts.sum()
    entropy = -(share * np.log2(share)).sum() * len(numbers) / 8
    assert entropy * 0.99 < len(pack(numbers)) < entropy * 1.06 + 8


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_nothing_but_the_bytes_and_sizes_is_needed_to_decode(codec: fed.Codec) -> None:
    first, second = (codec.encode(points(), SIZES, draw()) for _ in range(2))
    assert first == second
    decoded = codec.decode(first, SIZES)
    assert decoded.dtype == np.int64
    assert decoded.shape == (sum(SIZES),)
    assert not codec.decode(codec.encode(0 * decoded, SIZES, draw()), SIZES).any()


def test_dense_is_exact_and_few_bits_are_near() -> None:
    given = points()
    assert np.array_equal(fed.Dense().decode(fed.Dense().encode(given, SIZES, draw()), SIZES),
                          given)
    fine = fed.Stochastic(16)
    off = fine.decode(fine.encode(given, SIZES, draw()), SIZES) - given
    assert np.abs(off).max() <= np.ceil(np.abs(given).max() / 2**14)


def test_stochastic_rounding_has_the_right_mean() -> None:
    """The mean of n draws lies within 5 standard deviations, step / 2 / sqrt(n), of the number."""
    codec, given, drawn = fed.Stochastic(2), points()[:300], draw()
    found = [codec.decode(codec.encode(given, [300], drawn), [300]) for _ in range(400)]
    step = np.abs(given).max()
    assert np.abs(np.mean(found, axis=0) - given).max() < 5 * step / 2 / np.sqrt(400)


def test_top_k_sends_the_largest_and_what_is_left_is_smaller() -> None:
    given = points()
    sent = fed.TopK(0.1).decode(fed.TopK(0.1).encode(given, SIZES, draw()), SIZES)
    chosen = sent != 0
    assert chosen.sum() == round(0.1 * len(given))
    assert np.abs(given[chosen]).min() >= np.abs(given[~chosen]).max()
    assert np.abs(given - sent).max() <= np.abs(given[chosen]).min()


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_damaged_bytes_are_refused_or_stay_within_bounds(codec: fed.Codec) -> None:
    data = bytearray(codec.encode(points(), SIZES, draw()))
    drawn = np.random.default_rng(2)
    with pytest.raises(DataError):
        codec.decode(bytes(data[:-2]), SIZES)
    with pytest.raises(DataError):
        codec.decode(bytes(data) + b"\1\2", SIZES)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[drawn.integers(len(data))] ^= 1 << drawn.integers(8)
        try:
            found = codec.decode(bytes(damaged), SIZES)
        except DataError:
            continue
        assert found.shape == (sum(SIZES),)
        assert np.abs(found).max() < 2 * lattice.MOST


@pytest.mark.parametrize("wrong", [
    lambda: fed.Stochastic(1), lambda: fed.Stochastic(17), lambda: fed.TopK(0.0),
    lambda: fed.TopK(1.5)])
def test_settings_that_make_no_sense_are_refused(wrong: object) -> None:
    with pytest.raises(DataError, match="expected"):
        wrong()


def test_the_lattice_is_exact_where_float32_holds_it() -> None:
    whole = np.random.default_rng(0).integers(-(1 << 24), 1 << 24, 1000)
    assert np.array_equal(lattice.to_lattice(lattice.from_lattice(whole)), whole)
    for bad in (np.nan, np.inf, 2048.0):
        with pytest.raises(DataError, match="smaller learning rate"):
            lattice.to_lattice(np.array([0, bad], np.float32))


@pytest.mark.parametrize("message", [
    Task(b"8 bytes!", 3, b"model", 77, False, b"control"), Task(b"8 bytes!", 0, b"", whole=True),
    Answer(b"8 bytes!", 3, 100, 4, 0.5, 99, b"difference")], ids=lambda m: type(m).__name__)
def test_messages_come_back_and_any_changed_bit_is_noticed(message: Task | Answer) -> None:
    data = message.to_bytes()
    assert type(message).from_bytes(data) == message
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(DataError):
            type(message).from_bytes(bytes(damaged))
    for length in range(len(data)):
        with pytest.raises(DataError):
            type(message).from_bytes(data[:length])


def test_headers_are_small() -> None:
    assert len(Answer(b"8 bytes!", 1, 1, 1, 0.0, 0, b"").to_bytes()) <= 48
    assert len(Task(b"8 bytes!", 1, b"").to_bytes()) <= 32
