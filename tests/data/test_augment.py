"""Augmentation: what each may do to a row, and that seed, epoch and batch decide all of it."""

from fractions import Fraction

import numpy as np
import pytest

from ganglion.data import (
    Draws,
    GaussianNoise,
    MixUp,
    RandomCrop,
    RandomFlip,
    RandomSpeed,
    RandomTimeShift,
    RandomTranslation,
    augmented,
)
from ganglion.data.draws import _power
from ganglion.errors import DataError

IMAGES = np.random.default_rng(0).normal(size=(40, 6, 8, 2)).astype(np.float32)
SERIES = np.random.default_rng(1).normal(size=(40, 20, 3)).astype(np.float32)
HOT = np.eye(5, dtype=np.float32)[np.arange(40) % 5]

EVERY = [(RandomFlip(), IMAGES), (RandomTranslation(0.3, 0.3), IMAGES),
         (RandomCrop(6, 8, padding=2), IMAGES), (GaussianNoise(0.1), IMAGES),
         (MixUp(), IMAGES), (RandomTimeShift(0.2), SERIES), (RandomSpeed(0.1), SERIES),
         (GaussianNoise(0.1), SERIES), (MixUp(0.5), SERIES)]


def _once(step, x, seed=0, epoch=0, batch=0):
    (found,), (y,) = augmented([step], (x,), (HOT,), seed=seed, epoch=epoch, batch=batch)
    return found, y


def _changed(step, x):
    return _once(step, x)[0]


@pytest.mark.parametrize(("step", "x"), EVERY, ids=lambda value: type(value).__name__)
def test_seed_epoch_and_batch_decide_every_bit(step, x):
    before = x.copy()
    first, y = _once(step, x, 3, 4, 5)
    again, _ = _once(step, x, 3, 4, 5)
    np.testing.assert_array_equal(first, again)
    assert (first.dtype, first.shape, y.dtype) == (x.dtype, x.shape, HOT.dtype)
    np.testing.assert_array_equal(x, before)
    for other in ((2, 4, 5), (3, 5, 5), (3, 4, 6)):
        assert not np.array_equal(first, _once(step, x, *other)[0])


def test_each_step_of_a_list_draws_for_itself():
    noise = GaussianNoise(1.0)
    once, twice = (augmented([noise] * n, (SERIES,), (HOT,), seed=0, epoch=0, batch=0)[0][0]
                   for n in (1, 2))
    assert not np.allclose(twice - SERIES, 2 * (once - SERIES))


def test_a_flipped_image_is_itself_or_its_mirror_image():
    for mode in ("horizontal", "vertical", "horizontal_and_vertical"):
        mirrors = [(), *([(1,)] if "horizontal" in mode else []),
                   *([(0,)] if "vertical" in mode else []),
                   *([(0, 1)] if mode == "horizontal_and_vertical" else [])]
        seen = set()
        for before, after in zip(IMAGES, _changed(RandomFlip(mode), IMAGES)):
            seen.add(next(axes for axes in mirrors
                          if np.array_equal(np.flip(before, axes), after)))
        assert seen == set(mirrors)


def _moved(row, by, fill):
    mode = {"constant": "constant", "nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}[fill]
    pad = [(n, n) if k < len(by) else (0, 0) for k, n in enumerate(row.shape)]
    wide = np.pad(row, pad, mode)
    starts = [n - b for n, b in zip(row.shape, by)]
    return wide[tuple(slice(s, s + n) for s, n in zip(starts, row.shape))]


@pytest.mark.parametrize("fill", ["constant", "nearest", "reflect", "wrap"])
def test_a_translated_image_is_moved_by_whole_pixels_within_the_bounds(fill):
    found = _changed(RandomTranslation(0.34, (-0.25, 0.0), fill), IMAGES)
    moves = [(a, b) for a in (-2, -1, 0, 1, 2) for b in (-2, -1, 0)]
    seen = {next(by for by in moves if np.array_equal(_moved(before, by, fill), after))
            for before, after in zip(IMAGES, found)}
    assert len(seen) > len(moves) // 2


def test_a_shifted_series_keeps_its_order():
    found = _changed(RandomTimeShift((0.0, 0.2), "constant", 7.0), SERIES)
    seen = set()
    for before, after in zip(SERIES, found):
        by = next(b for b in range(5) if np.array_equal(after[b:], before[:20 - b]))
        assert (after[:by] == 7).all()
        seen.add(by)
    assert seen == {0, 1, 2, 3, 4}


def test_a_crop_is_a_window_of_the_image_with_zeros_around():
    windows = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for wide, after in zip(windows, _changed(RandomCrop(5, 7, padding=1), IMAGES)):
        assert any(np.array_equal(wide[i:i + 5, j:j + 7], after)
                   for i in range(4) for j in range(4))


def test_a_straight_line_played_faster_is_a_steeper_line():
    line = np.broadcast_to(np.linspace(-1, 1, 101, dtype=np.float32)[:, None], (30, 101, 1))
    found = _changed(RandomSpeed(0.2, "nearest"), line)[:, 20:81, 0]
    slopes = np.diff(found, axis=1) / 0.02
    np.testing.assert_allclose(slopes, slopes[:, :1] * np.ones(60), atol=1e-3)
    assert 0.8 <= slopes.min() < 0.9
    assert 1.1 < slopes.max() <= 1.2
    np.testing.assert_allclose(found[:, 30], 0, atol=1e-6)


def test_noise_has_the_deviation_asked_for():
    added = _changed(GaussianNoise(0.5), np.zeros((100, 100, 10), np.float32))
    assert abs(added.mean()) < 0.01
    assert added.std() == pytest.approx(0.5, rel=0.01)
    within = (np.abs(added) < 0.5).mean()
    assert within == pytest.approx(0.6827, abs=0.01)


def test_a_mixed_sample_lies_between_two_of_its_batch_inputs_and_targets_alike():
    x = np.arange(40, dtype=np.float32)[:, None]
    y = np.stack([x[:, 0], 100 - x[:, 0]], 1)
    (mixed,), (targets,) = augmented([MixUp(1.0)], (x,), (y,), seed=0, epoch=0, batch=0)
    np.testing.assert_allclose(targets, np.concatenate([mixed, 100 - mixed], 1), rtol=1e-5)
    assert not np.allclose(mixed, np.rint(mixed))
    assert mixed.min() >= 0
    assert mixed.max() <= 39


@pytest.mark.parametrize("exponent", [0.5, 1.0, 5.0, 40.0])
def test_powers_are_right_far_below_the_rounding_of_a_float(exponent):
    base = np.concatenate([[2.0 ** -54, 1.0], np.random.default_rng(0).random(1000)])
    np.testing.assert_allclose(_power(base, exponent), np.maximum(base ** exponent, np.exp(-700)),
                               rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 2.0])
def test_beta_has_its_mean_and_variance(alpha):
    drawn = Draws(0).beta(alpha, 3000)
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_draws_follow_from_the_raw_words_in_exact_arithmetic():
    def words(count):
        raw = np.random.Philox(np.random.SeedSequence([1, 2])).random_raw(count)
        return [int(word) for word in raw]
    assert Draws(1, 2).integers(-3, 6, 50).tolist() == [(w >> 32) * 10 // 2 ** 32 - 3
                                                        for w in words(50)]
    assert Draws(1, 2).uniform(0, 1, 50).tolist() == [float(Fraction(w >> 40, 2 ** 24))
                                                      for w in words(50)]
    sixteenths = [(w >> s) & 0xFFFF for w in words(30) for s in (0, 16, 32, 48)]
    sums = [sum(sixteenths[k::10]) for k in range(10)]
    assert Draws(1, 2).normal(10).tolist() == [float(Fraction(s - 6 * 65535, 65536)) for s in sums]
    assert sorted(Draws(1, 2).permutation(9).tolist()) == list(range(9))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: RandomFlip("diagonal"), "horizontal_and_vertical"),
    (lambda: RandomTranslation(1.5, 0.1), "height_factor=1.5"),
    (lambda: RandomTranslation(0.1, (0.2, 0.1)), "width_factor"),
    (lambda: RandomTimeShift(0.1, "mirror"), "constant, nearest, reflect, wrap"),
    (lambda: GaussianNoise(-1.0), "from 0 up"), (lambda: GaussianNoise(np.inf), "finite"),
    (lambda: MixUp(0.0), "alpha above 0"),
    (lambda: RandomCrop(0, 3), "from 1"),
])
def test_settings_without_a_meaning_are_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize(("step", "x", "message"), [
    (RandomFlip(), SERIES, r"images.*\[40, 20, 3\]"),
    (RandomSpeed(0.1), HOT[:, 0], r"series.*\[40\]"),
    (RandomCrop(9, 3), IMAGES, "smaller than the window"),
    (GaussianNoise(0.1), np.zeros((3, 4), np.int64), "int64"),
    (MixUp(), np.zeros((3, 4), np.int64), "categorical_crossentropy"),
])
def test_data_that_a_step_cannot_change_is_refused(step, x, message):
    with pytest.raises(DataError, match=message):
        _changed(step, x)
