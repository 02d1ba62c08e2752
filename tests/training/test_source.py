"""Streams of batches and augmentation in `fit`: the same batches whenever a run is repeated."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.numpy_stepper import NumpyStepper

from ganglion import layers as L
from ganglion.data import Augmentation, Draws, GaussianNoise, MixUp, RandomCrop
from ganglion.errors import DataError
from ganglion.training.callbacks import Callback, History, Run
from ganglion.training.fit import fit, problem_of
from ganglion.training.loop.epochs import train

X = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
Y = np.eye(3, dtype=np.float32)[np.arange(10) % 3]
LOSS = "categorical_crossentropy"


def _net() -> ir.Model:
    return L.Sequential([L.Input((4,)), L.Dropout(0.2), L.Dense(3, "softmax")], seed=0)


def _fit(x: object, y: object = None, **settings: object) -> tuple[list[np.ndarray], History]:
    settings = {"loss": LOSS, "optimizer": "sgd", "epochs": 3} | settings
    model, history = train(problem_of(_net(), x, y, **settings), NumpyStepper)  # type: ignore[arg-type]
    return [v.const_value.numpy() for v in model.graph.initializers.values()
            if v.const_value is not None], history


def _batches(size: int = 4) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(X[k:k + size], Y[k:k + size]) for k in range(0, 10, size)]


def _for_ever() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    while True:
        index = rng.integers(0, 10, 4)
        yield X[index], Y[index]


def _same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(m, n) for m, n in zip(a, b, strict=True))


class _Kill(Callback):
    """Ends a run as a kill would, after an epoch has been saved."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, run: Run) -> None:
        if epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("augment", [(), (GaussianNoise(0.3), MixUp())])
def test_a_list_of_batches_trains_as_the_arrays_that_it_was_cut_from(
        augment: tuple[Augmentation, ...]) -> None:
    settings: dict[str, object] = {"augment": augment, "metrics": ["mae"]}
    arrays, history = _fit(X, Y, batch_size=4, shuffle=False, **settings)
    stream, streamed = _fit(_batches(), **settings)
    assert _same(arrays, stream)
    assert history.history == streamed.history


def test_what_iterates_anew_starts_every_epoch_afresh_and_a_generator_goes_on() -> None:
    head = [pair for pair, _ in zip(_for_ever(), range(6))]
    assert _same(_fit(_for_ever(), steps_per_epoch=2)[0], _fit(iter(head), steps_per_epoch=2)[0])
    assert _same(_fit(head, steps_per_epoch=2)[0], _fit(head[:2] * 3, epochs=1)[0])


@pytest.mark.parametrize("stream", [_for_ever, _batches])
def test_a_killed_run_on_a_stream_resumes_with_the_same_bits(tmp_path: Path,
                                                             stream: object) -> None:
    settings = {"steps_per_epoch": 2, "epochs": 4, "augment": GaussianNoise(0.1), "seed": 5}
    whole, _ = _fit(stream(), **settings)  # type: ignore[operator]
    file = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        _fit(stream(), checkpoint=file, callbacks=[_Kill(2)], **settings)  # type: ignore[operator]
    resumed, _ = _fit(stream(), checkpoint=file, **settings)  # type: ignore[operator]
    assert _same(whole, resumed)
    with pytest.raises(DataError, match="another run"):
        _fit(stream(), checkpoint=file, **settings | {"augment": None})  # type: ignore[operator]


def test_augmentation_changes_what_is_learnt_and_not_what_is_validated() -> None:
    plain, before = _fit(X, Y, epochs=1, validation_data=(X, Y), optimizer=_still())
    noisy, after = _fit(X, Y, epochs=1, validation_data=(X, Y), optimizer=_still(),
                        augment=GaussianNoise(0.5))
    assert _same(plain, noisy)
    assert before.history["val_loss"] == after.history["val_loss"]
    assert before.history["loss"] != after.history["loss"]


def _still() -> object:
    from ganglion.training.optimizers import SGD

    return SGD(learning_rate=0.0)


def test_the_compiled_step_takes_streams_with_a_shorter_last_batch() -> None:
    by_arrays, _ = fit(_net(), X, Y, loss=LOSS, batch_size=4, shuffle=False, epochs=2)
    by_stream, _ = fit(_net(), _batches(), loss=LOSS, epochs=2)
    for a, b in zip(by_arrays.graph.initializers.values(), by_stream.graph.initializers.values()):
        assert a.const_value is not None
        assert b.const_value is not None
        np.testing.assert_array_equal(a.const_value.numpy(), b.const_value.numpy())


@dataclass(frozen=True)
class _Halving(Augmentation):
    """An augmentation that breaks its contract."""

    def apply(self, inputs: tuple[np.ndarray, ...], targets: tuple[np.ndarray, ...], draws: Draws
              ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        return tuple(a[::2] for a in inputs), targets


@pytest.mark.parametrize(("x", "y", "settings", "message"), [
    (_for_ever(), None, {}, "say steps_per_epoch"), ([], None, {}, "no batch"),
    (X, None, {}, "there is no y"), (iter([]), None, {"steps_per_epoch": 2}, "no batch"),
    (_batches(), None, {"steps_per_epoch": 9}, r"epoch 1 after 3 of 9 batches"),
    (iter(_batches()), None, {"steps_per_epoch": 2}, r"epoch 2 after 1 of 2 batches"),
    ([(X, Y), X], None, {}, r"epoch 1, batch 2: found ndarray; expected a tuple \(x, y\)"),
    ([(X, Y), (X, Y[:3])], None, {}, "epoch 1, batch 2: x has 10 rows but y has 3"),
    ([(X[:, :3], Y)], None, {}, r"batch 1: x has shape \[10, 3\]"),
    (_batches(), None, {"validation_split": 0.2}, "give validation_data"),
    (_batches(), None, {"steps_per_epoch": 0}, "from 1 up"),
    (X, Y, {"steps_per_epoch": 3}, "an epoch takes all rows"),
    (_for_ever(), Y, {"steps_per_epoch": 3}, "no y"),
    (X, Y, {"augment": "flip"}, "augment holds 'f'"),
    (X, Y, {"augment": _Halving()}, r"made float32 \[5, 4\] of float32 \[10, 4\]"),
    (X, Y, {"augment": RandomCrop(2, 2)}, "images"),
])
def test_wrong_streams_and_augmentations_are_refused(x: object, y: object,
                                                     settings: dict[str, object],
                                                     message: str) -> None:
    with pytest.raises(DataError, match=message):
        _fit(x, y, **settings)
