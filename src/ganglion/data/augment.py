"""Augmentation: every batch a little different, always the same for the same seed.

Each class is a frozen description under Keras's name, if Keras has one. What it draws for a batch
depends on the seed, the epoch and the number of the batch alone (`augmented`), so a run that is
continued, or repeated elsewhere, sees the same bits (`draws` says why).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ganglion.data.draws import MOST_ALPHA, Draws
from ganglion.errors import DataError

Arrays = tuple[np.ndarray, ...]
Fill = Literal["constant", "nearest", "reflect", "wrap"]
"""What stands beyond the edge: `fill_value`; the edge itself; the array mirrored, its edge
repeated (d c b a | a b c d); the array again from its other end."""

Range = float | tuple[float, float]
"""A largest change to both sides, or the least and the largest."""


@dataclass(frozen=True)
class Augmentation(ABC):
    """Changes the inputs and targets of a batch, in a way that only its fields and draws decide."""

    @abstractmethod
    def apply(self, inputs: Arrays, targets: Arrays, draws: Draws) -> tuple[Arrays, Arrays]:
        """The batch changed, every array [N, ...] with as many rows as before."""


@dataclass(frozen=True)
class InputAugmentation(Augmentation):
    """One that changes the network's only input and leaves the targets."""

    def apply(self, inputs: Arrays, targets: Arrays, draws: Draws) -> tuple[Arrays, Arrays]:
        if len(inputs) != 1:
            raise DataError(f"{type(self).__name__} changes the input of networks with one input; "
                            f"this one has {len(inputs)}; write an Augmentation of your own")
        if inputs[0].dtype.kind != "f":
            raise DataError(f"{type(self).__name__} takes fractions, but the input holds "
                            f"{inputs[0].dtype}; give the network a float input")
        return (self.change(inputs[0], draws),), targets

    @abstractmethod
    def change(self, x: np.ndarray, draws: Draws) -> np.ndarray:
        """The inputs [N, ...] changed."""


def augmented(steps: Sequence[Augmentation], inputs: Arrays, targets: Arrays, *, seed: int,
              epoch: int, batch: int) -> tuple[Arrays, Arrays]:
    """A batch after every step in turn; each draws from (seed, epoch, batch, its place)."""
    for place, step in enumerate(steps):
        inputs, targets = step.apply(inputs, targets, Draws(seed, epoch, batch, place))
    return inputs, targets


@dataclass(frozen=True)
class RandomFlip(InputAugmentation):
    """Mirrors images [N, H, W, C] left to right, upside down, or either, each with chance ½."""

    mode: Literal["horizontal", "vertical", "horizontal_and_vertical"] = "horizontal_and_vertical"

    def __post_init__(self) -> None:
        if self.mode not in ("horizontal", "vertical", "horizontal_and_vertical"):
            raise DataError(f"RandomFlip(mode={self.mode!r}): expected 'horizontal', 'vertical' "
                            "or 'horizontal_and_vertical'")

    def change(self, x: np.ndarray, draws: Draws) -> np.ndarray:
        _require_images(self, x)
        for axis, name in ((2, "horizontal"), (1, "vertical")):
            if name in self.mode:
                flip = draws.flags(len(x)).reshape(-1, 1, 1, 1)
                x = np.where(flip, np.flip(x, axis), x)
        return x


@dataclass(frozen=True)
class RandomTranslation(InputAugmentation):
    """Moves images [N, H, W, C] by up to these fractions of their size, in whole pixels.

    `height_factor`: f moves up or down by at most f·H, (a, b) by a·H to b·H, positive down;
    `width_factor` the same to the right.
    """

    height_factor: Range
    width_factor: Range
    fill_mode: Fill = "reflect"
    fill_value: float = 0.0

    def __post_init__(self) -> None:
        _check_range(self, "height_factor", self.height_factor)
        _check_range(self, "width_factor", self.width_factor)
        _check_fill(self, self.fill_mode)

    def change(self, x: np.ndarray, draws: Draws) -> np.ndarray:
        _require_images(self, x)
        for axis, factor in ((1, self.height_factor), (2, self.width_factor)):
            x = _shift(x, axis, factor, self.fill_mode, self.fill_value, draws)
        return x


@dataclass(frozen=True)
class RandomCrop(InputAugmentation):
    """Cuts a window of `height` × `width` out of each image [N, H, W, C], anywhere in it after
    `padding` zeros were put around. The sizes must be the network's."""

    height: int
    width: int
    padding: int = 0

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1 or self.padding < 0:
            raise DataError(f"{self}: expected sizes from 1 and padding from 0 up")

    def change(self, x: np.ndarray, draws: Draws) -> np.ndarray:
        _require_images(self, x)
        for axis, size in ((1, self.height), (2, self.width)):
            room = x.shape[axis] + 2 * self.padding - size
            if room < 0:
                raise DataError(f"{self}: the images are {list(x.shape[1:3])}, with the padding "
                                "smaller than the window; choose a smaller window or more padding")
            start = draws.integers(-self.padding, room - self.padding, len(x))
            x = _gather(x, axis, start[:, None] + np.arange(size), "constant", 0.0)
        return x


@dataclass(frozen=True)
class GaussianNoise(InputAugmentation):
    """Adds noise of the deviation `stddev` to every number of images, series or anything else."""

    stddev: float

    def __post_init__(self) -> None:
        if not self.stddev >= 0:
            raise DataError(f"{self}: expected a deviation from 0 up")

    def change(self, x: np.ndarray, draws: Draws) -> np.ndarray:
        noise = draws.normal(*x.shape).astype(x.dtype)
        return np.asarray(x + noise * x.dtype.type(self.stddev))


@dataclass(frozen=True)
class _TimeChange(InputAugmentation):
    """One that looks at series [N, T, ...] at other times, maybe beyond their ends."""

    factor: Range
    fill_mode: Fill = "nearest"
    fill_value: float = 0.0

    def __post_init__(self) -> None:
        _check_range(self, "factor", self.factor)
        _check_fill(self, self.fill_mode)


@dataclass(frozen=True)
class RandomTimeShift(_TimeChange):
    """Moves series [N, T, ...] along time by up to `factor` of their length, in whole steps;
    positive is later."""

    def change(self, x: np.ndarray, draws: Draws) -> np.ndarray:
        _require_series(self, x)
        return _shift(x, 1, self.factor, self.fill_mode, self.fill_value, draws)


@dataclass(frozen=True)
class RandomSpeed(_TimeChange):
    """Plays series [N, T, ...] faster or slower by up to `factor` about their middle, with linear
    interpolation; 0.1 is 0.9 to 1.1 times the speed."""

    def change(self, x: np.ndarray, draws: Draws) -> np.ndarray:
        _require_series(self, x)
        speed = np.float32(1) + draws.uniform(*_range(self.factor), len(x))[:, None]
        middle = np.float32((x.shape[1] - 1) / 2)
        place = (np.arange(x.shape[1], dtype=np.float32) - middle) * speed + middle
        before = np.floor(place)
        share = _beside(place - before, x)
        index = before.astype(np.int64)
        early, late = (_gather(x, 1, i, self.fill_mode, self.fill_value)
                       for i in (index, index + 1))
        return np.asarray(early + (late - early) * share)


@dataclass(frozen=True)
class MixUp(Augmentation):
    """Mixes every sample with another of its batch, inputs and targets alike, by a share drawn
    from Beta(alpha, alpha) (Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018).
    Weights of samples stay with their rows."""

    alpha: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= MOST_ALPHA:
            raise DataError(f"{self}: expected alpha above 0 and at most {MOST_ALPHA:g}")

    def apply(self, inputs: Arrays, targets: Arrays, draws: Draws) -> tuple[Arrays, Arrays]:
        for array in (*inputs, *targets):
            if array.dtype.kind != "f":
                raise DataError(
                    f"MixUp mixes fractions, but found {array.dtype}; give targets with one value "
                    "for each class (numpy.eye(classes)[y]) and loss='categorical_crossentropy'")
        rows = len(inputs[0])
        other, share = draws.permutation(rows), draws.beta(self.alpha, rows)

        def mix(array: np.ndarray) -> np.ndarray:
            part = _beside(share, array)
            return np.asarray(array * part + array[other] * (1 - part))
        return tuple(map(mix, inputs)), tuple(map(mix, targets))


def _shift(x: np.ndarray, axis: int, factor: Range, fill: Fill, value: float,
           draws: Draws) -> np.ndarray:
    size = x.shape[axis]
    low, high = (int(np.trunc(f * size)) for f in _range(factor))
    by = draws.integers(low, high, len(x))
    return _gather(x, axis, np.arange(size) - by[:, None], fill, value)


def _gather(x: np.ndarray, axis: int, index: np.ndarray, fill: Fill, value: float) -> np.ndarray:
    """Of each row n the places index[n] along `axis`, which may lie beyond its ends."""
    size = x.shape[axis]
    beyond = (index < 0) | (index >= size)
    if fill == "wrap":
        index = index % size
    elif fill == "reflect":
        index = np.minimum(index % (2 * size), 2 * size - 1 - index % (2 * size))
    else:
        index = np.clip(index, 0, size - 1)
    moved = np.moveaxis(x, axis, 1)
    made = moved[np.arange(len(x))[:, None], index]
    if fill == "constant" and beyond.any():
        made[beyond] = value
    return np.ascontiguousarray(np.moveaxis(made, 1, axis))


def _beside(share: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`share`, in the dtype of `x`, with axes of one element behind, so that it spreads over x."""
    return share.astype(x.dtype).reshape(share.shape + (1,) * (x.ndim - share.ndim))


def _range(factor: Range) -> tuple[float, float]:
    return factor if isinstance(factor, tuple) else (-factor, factor)


def _check_range(owner: Augmentation, name: str, factor: Range) -> None:
    low, high = _range(factor)
    if not -1 < low <= high < 1:
        raise DataError(f"{type(owner).__name__}({name}={factor}): expected a fraction from 0 to "
                        "below 1, or the least and the largest between -1 and 1")


def _check_fill(owner: Augmentation, fill: str) -> None:
    modes = ("constant", "nearest", "reflect", "wrap")
    if fill not in modes:
        raise DataError(f"{type(owner).__name__}(fill_mode={fill!r}): expected one of "
                        f"{', '.join(modes)}")


def _require_images(owner: Augmentation, x: np.ndarray) -> None:
    if x.ndim != 4:
        raise DataError(f"{type(owner).__name__} takes images [N, height, width, channels]; found "
                        f"{list(x.shape)}")


def _require_series(owner: Augmentation, x: np.ndarray) -> None:
    if x.ndim < 2:
        raise DataError(f"{type(owner).__name__} takes series [N, time, ...]; found "
                        f"{list(x.shape)}")
