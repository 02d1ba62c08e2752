"""What a trainer offers to those who learn together: parts of batches, epochs, flat weights,
corrections, and one library for many."""

import numpy as np
import onnx_ir as ir
import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.artifact import Artifact
from ganglion.errors import DataError
from ganglion.runtime import Trainer

RNG = np.random.default_rng(1)
X = RNG.normal(size=(11, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 11)
LOSS = "sparse_categorical_crossentropy"
RATE = 0.1


def _net() -> ir.Model:
    return L.Sequential([
        L.Input((6,)), L.Dense(5, name="hidden"), L.BatchNormalization(name="norm"),
        L.Activation("tanh"), L.Dropout(0.5, name="drop"), L.Dense(3, "softmax", name="head")],
        name="small")


def _plain() -> ir.Model:
    return L.Sequential([L.Input((6,)), L.Dense(5, "tanh", name="hidden"),
                         L.Dense(3, "softmax", name="head")], name="plain")


@pytest.fixture(scope="module")
def built() -> Artifact:
    return gg.compile_training(_plain(), loss=LOSS, optimizer=gg.optimizers.SGD(RATE),
                               batch_size=4, sample_weight=True, correction=True)


@pytest.fixture(scope="module")
def dropping() -> Artifact:
    return gg.compile_training(_net(), loss=LOSS, optimizer="adam", batch_size=4)


def test_an_epoch_learns_as_fit_does_and_leaves_no_row_out(built: Artifact) -> None:
    trainer = built.trainer()
    losses = trainer.fit(X, Y, epochs=3, seed=5)
    trained, history = gg.fit(_plain(), X, Y, loss=LOSS, optimizer=gg.optimizers.SGD(RATE),
                              batch_size=4, epochs=3, seed=5)
    assert losses == pytest.approx(history.history["loss"], rel=1e-6)
    for name, array in trainer.get_weights().items():
        np.testing.assert_allclose(array, trained.graph.initializers[name].const_value.numpy(),
                                   rtol=1e-5, atol=1e-7)


def test_epochs_continue_where_they_stopped(built: Artifact) -> None:
    whole, parts = built.trainer(), built.trainer()
    losses = whole.fit(X, Y, epochs=3, seed=2)
    found = parts.fit(X, Y, epochs=1, seed=2) + parts.fit(X, Y, epochs=2, seed=2, initial_epoch=1)
    assert found == losses
    assert whole.save() == parts.save()


def test_factors_of_rows_are_those_of_their_losses(built: Artifact) -> None:
    """A row with the factor 0 is as if it were not there, up to the mean over the rows given."""
    weighted, fewer = built.trainer(), built.trainer()
    loss = weighted.step(X[:4], Y[:4], sample_weight=[4 / 3, 4 / 3, 4 / 3, 0])
    assert loss == pytest.approx(fewer.step(X[:3], Y[:3]), rel=1e-6)
    np.testing.assert_allclose(weighted.get_flat(), fewer.get_flat(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("factor", [[1, 1, 1], [1, 1, 1, -1], [1, 1, 1, np.nan]])
def test_factors_that_make_no_sense_are_refused(built: Artifact, factor: list[float]) -> None:
    trainer = built.trainer()
    before = trainer.save()
    with pytest.raises(DataError, match="sample_weight"):
        trainer.step(X[:4], Y[:4], sample_weight=factor)
    assert trainer.save() == before


def test_a_build_without_factors_takes_whole_batches_alone(dropping: Artifact) -> None:
    trainer = dropping.trainer()
    with pytest.raises(DataError, match="sample_weight=True"):
        trainer.step(X[:3], Y[:3])
    with pytest.raises(DataError, match="sample_weight"):
        trainer.step(X[:4], Y[:4], sample_weight=np.ones(4))
    with pytest.raises(DataError, match="at least 4"):
        trainer.fit(X[:3], Y[:3])


def test_accuracy_is_the_share_of_rows_whose_class_is_answered(built: Artifact) -> None:
    trainer = built.trainer()
    expected = (trainer.predict(X).argmax(-1) == Y).mean()
    assert trainer.evaluate(X, Y)["accuracy"] == expected


def test_flat_weights_are_the_named_ones_in_their_order(dropping: Artifact) -> None:
    trainer = dropping.trainer()
    named = trainer.get_weights()
    assert np.array_equal(trainer.get_flat(), np.concatenate([a.ravel() for a in named.values()]))
    fresh = np.arange(trainer.get_flat().size, dtype=np.float32)
    trainer.set_flat(fresh)
    assert np.array_equal(trainer.get_flat(), fresh)
    trainer.set_flat(np.ones(3, np.float32), ["head/bias"])
    assert trainer.get_weights()["head/bias"].tolist() == [1, 1, 1]


def test_weights_that_are_no_numbers_are_refused_and_change_nothing(built: Artifact) -> None:
    trainer = built.trainer()
    before = trainer.save()
    flat = trainer.get_flat()
    with pytest.raises(DataError, match="NaN"):
        trainer.set_weights({"head/bias": [0, np.nan, 0]})
    with pytest.raises(DataError, match="NaN"):
        trainer.set_flat(np.full_like(flat, np.inf))
    with pytest.raises(DataError, match=f"hold {flat.size}"):
        trainer.set_flat(flat[1:])
    assert trainer.save() == before


def test_statistics_are_told_from_what_gradients_move(dropping: Artifact) -> None:
    roles = {t.name: t.statistic for t in dropping.trainer().state if t.weight}
    moved = {name for name, statistic in roles.items() if statistic}
    assert moved == {"norm/moving_mean", "norm/moving_variance"}


def test_a_fresh_optimiser_keeps_the_weights(dropping: Artifact) -> None:
    trainer = dropping.trainer()
    trainer.step(X[:4], Y[:4])
    weights, fresh = trainer.get_flat(), dropping.trainer().get_optimizer()
    trainer.reset_optimizer()
    assert np.array_equal(trainer.get_flat(), weights)
    for name, array in trainer.get_optimizer().items():
        assert np.array_equal(array, fresh[name]), name


def test_other_seeds_drop_other_units_and_equal_ones_the_same(dropping: Artifact) -> None:
    def losses(seed: int) -> list[float]:
        trainer = dropping.trainer()
        trainer.reseed(seed)
        return [trainer.step(X[:4], Y[:4]) for _ in range(4)]

    assert losses(1) == losses(1) != losses(2)


def test_another_trainer_of_one_library_has_weights_of_its_own(built: Artifact) -> None:
    first = built.trainer()
    before = first.get_flat()
    first.step(X[:4], Y[:4])
    second = first.another()
    assert np.array_equal(second.get_flat(), before)
    assert second.digest == first.digest == built.session().digest


def _corrected(built: Artifact, proximal: float, correction: np.ndarray) -> Trainer:
    trainer = built.trainer()
    names = [t.name for t in trainer.state if t.name.endswith(".correction")]
    trainer.set_optimizer({"proximal": np.float32(proximal)})
    trainer.set_flat(correction, names)
    return trainer


def test_a_correction_is_taken_off_behind_every_step(built: Artifact) -> None:
    """w - rate·g, and of that rate·(proximal·w + correction): by NumPy from a step without."""
    plain = built.trainer()
    plain.step(X[:4], Y[:4])
    stepped = plain.get_flat()
    correction = RNG.normal(size=stepped.size).astype(np.float32)
    trainer = _corrected(built, 0.5, correction)
    trainer.step(X[:4], Y[:4])
    expected = stepped - RATE * (0.5 * stepped + correction)
    np.testing.assert_allclose(trainer.get_flat(), expected, rtol=1e-5, atol=1e-6)


def test_corrections_cost_no_working_memory(built: Artifact) -> None:
    without = gg.compile_training(_plain(), loss=LOSS, optimizer=gg.optimizers.SGD(RATE),
                                  batch_size=4, sample_weight=True, check=False)
    assert built.arena_bytes == without.arena_bytes
