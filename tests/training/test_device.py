"""Training artefacts: built here, run with the thin runtime alone."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.artifact import Artifact
from ganglion.errors import DataError, ModelError, TargetError
from ganglion.passes.pipeline import prepare
from ganglion.plan.join import join
from ganglion.plan.planner import plan
from ganglion.runtime import Trainer
from ganglion.toolchain.targets import target
from ganglion.training.device import compile_training, functions
from ganglion.training.fit import choose_losses
from ganglion.training.optimizers import Adam

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6, 6, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 12)
BATCH = 4


def _net() -> ir.Model:
    return L.Sequential([
        L.Input((6, 6, 2)), L.Conv2D(4, 3, activation="relu", name="conv"),
        L.BatchNormalization(name="norm"), L.Flatten(), L.Dropout(0.3, name="drop"),
        L.Dense(8, "tanh", name="hidden"), L.Dense(3, "softmax", name="head")], name="net")


@pytest.fixture(scope="module")
def built() -> Artifact:
    return compile_training(_net(), loss="sparse_categorical_crossentropy", optimizer="adam",
                            batch_size=BATCH, seed=3)


@pytest.fixture(scope="module")
def partly() -> Artifact:
    return compile_training(_net(), loss="sparse_categorical_crossentropy",
                            optimizer=gg.optimizers.SGD(momentum=0.9), batch_size=BATCH,
                            trainable="head", calibration=(X, Y), name="partly")


def _epoch(trainer: Trainer) -> list[float]:
    return [trainer.step(X[i:i + BATCH], Y[i:i + BATCH]) for i in range(0, len(X), BATCH)]


def test_a_trainer_takes_the_same_steps_as_fit(built: Artifact) -> None:
    trainer = built.trainer()
    losses = _epoch(trainer)
    trained, history = gg.fit(_net(), X, Y, loss="sparse_categorical_crossentropy",
                              optimizer="adam", batch_size=BATCH, shuffle=False, seed=3)
    assert np.mean(losses) == pytest.approx(history.history["loss"][0], rel=1e-6)
    for name, array in trainer.get_weights().items():
        assert np.array_equal(array, trained.graph.initializers[name].const_value.numpy()), name


def test_the_weights_go_back_into_a_deployed_build(built: Artifact) -> None:
    trainer = built.trainer()
    _epoch(trainer)
    deployed = gg.write_back(_net(), trainer.get_weights())
    answers = trainer.predict(X[:7])
    np.testing.assert_allclose(gg.compile(deployed).session().run(X[:7]), answers, atol=1e-6)
    expected = gg.evaluate(deployed, X[:7], Y[:7], loss="sparse_categorical_crossentropy")
    assert trainer.evaluate(X[:7], Y[:7])["loss"] == pytest.approx(expected["loss"], rel=1e-5)


def test_a_saved_state_continues_with_the_same_bits(built: Artifact, partly: Artifact) -> None:
    trainer, other = built.trainer(), built.trainer()
    _epoch(trainer)
    other.restore(trainer.save())
    assert _epoch(other) == _epoch(trainer)
    trainer.reset()
    assert _epoch(trainer) == _epoch(built.trainer())
    with pytest.raises(DataError, match="another network"):
        partly.trainer().restore(trainer.save())
    with pytest.raises(DataError, match="damaged"):
        trainer.restore(trainer.save()[:-1])


def test_weights_and_optimizer_moved_by_name_continue_with_the_same_bits(built: Artifact) -> None:
    trainer, other = built.trainer(), built.trainer()
    _epoch(trainer)
    other.set_weights(trainer.get_weights())
    other.set_optimizer(trainer.get_optimizer())
    assert not set(trainer.get_weights()) & set(trainer.get_optimizer())
    assert "optimizer.iterations" in trainer.get_optimizer()
    assert _epoch(other) == _epoch(trainer)


def test_the_learning_rate_is_the_optimizers_unless_told_otherwise(built: Artifact) -> None:
    assert built.trainer().learning_rate == pytest.approx(Adam().learning_rate)
    still, given, told = (built.trainer() for _ in range(3))
    still.step(X[:BATCH], Y[:BATCH], learning_rate=0.0)
    first = built.trainer().get_weights()["hidden/kernel"]
    assert np.array_equal(still.get_weights()["hidden/kernel"], first)
    given.learning_rate = 0.5
    given.step(X[:BATCH], Y[:BATCH])
    told.step(X[:BATCH], Y[:BATCH], 0.5)
    assert given.save() == told.save() != still.save()


def test_frozen_weights_are_constants_that_all_functions_share(partly: Artifact) -> None:
    trainer = partly.trainer()
    assert set(trainer.get_weights()) == {"head/kernel", "head/bias"}
    assert set(trainer.get_optimizer()) == {"drop/Dropout.generator", "head/kernel.momentum",
                                            "head/bias.momentum"}
    before = trainer.predict(X)
    _epoch(trainer)
    assert not np.array_equal(before, trainer.predict(X))
    stored = [len(c.data) for c in partly.plan.constants]
    assert stored.count(4 * 64 * 8) == 1  # hidden/kernel


def test_a_build_says_what_it_needs_before_it_runs(built: Artifact) -> None:
    check = built.manifest["check"]
    assert isinstance(check, dict)
    assert [check["status"], *(e["status"] for e in check["entries"].values())] == ["passed"] * 3
    arenas = built.manifest["entries"]
    assert isinstance(arenas, dict)
    assert list(arenas) == ["evaluate", "predict"]
    assert max(arenas.values()) <= built.arena_bytes == built.manifest["arena_bytes"]
    trainer = built.trainer()
    assert (trainer.arena_bytes, trainer.state_bytes) == (built.arena_bytes, built.state_bytes)
    source = built.files[f"{built.name}.c"].decode()
    assert not any(word in source for word in ("malloc", "stdlib.h", "printf"))
    for function in ("run", "evaluate", "predict"):
        assert f"int {built.name}_{function}(" in built.files[f"{built.name}.h"].decode()


def test_a_batch_that_would_spoil_the_weights_is_refused_before_the_step(built: Artifact) -> None:
    trainer = built.trainer()
    before = trainer.get_weights()
    bad = np.array(Y[:BATCH])
    bad[0] = 99
    for x, y, advice in ((np.full_like(X[:BATCH], np.nan), Y[:BATCH], "NaN"),
                         (X[:BATCH], bad, "labels")):
        with pytest.raises(DataError, match=advice):
            trainer.step(x, y)
    for name, weight in trainer.get_weights().items():
        np.testing.assert_array_equal(weight, before[name])


def test_the_same_network_gives_the_same_artefact(partly: Artifact) -> None:
    again = compile_training(_net(), loss="sparse_categorical_crossentropy",
                             optimizer=gg.optimizers.SGD(momentum=0.9), batch_size=BATCH,
                             trainable="head", calibration=(X, Y), name="partly")
    assert again.files == partly.files


ALONE = """
import sys
import numpy as np
from ganglion.runtime import Trainer
from ganglion.toolchain.targets import target
trainer = Trainer(sys.argv[1])
x = np.load(sys.argv[2])
losses = [trainer.step(x["x"], x["y"]) for _ in range(3)]
foreign = {"onnx", "onnx_ir", "jinja2", "h5py", "ganglion.training", "ganglion.artifact"}
print(losses, trainer.evaluate(x["x"], x["y"]), sorted(foreign & set(sys.modules)))
"""


def test_a_saved_artefact_learns_with_numpy_alone(built: Artifact, tmp_path: Path) -> None:
    built.save(tmp_path / "device")
    np.savez(tmp_path / "batch.npz", x=X[:BATCH], y=Y[:BATCH])
    printed = subprocess.run([sys.executable, "-c", ALONE, str(tmp_path / "device"),
                              str(tmp_path / "batch.npz")], capture_output=True, text=True,
                             check=True).stdout
    trainer = built.trainer()
    losses = [trainer.step(X[:BATCH], Y[:BATCH]) for _ in range(3)]
    assert printed.strip() == f"{losses} {trainer.evaluate(X[:BATCH], Y[:BATCH])} []"


def test_both_bindings_take_the_same_steps(built: Artifact) -> None:
    trainers = [Trainer.from_files(built.files, binding=b) for b in ("ctypes",)]
    assert [_epoch(t) for t in trainers] == [_epoch(built.trainer())]


def test_several_inputs_and_outputs_have_a_loss_each() -> None:
    a, b = L.Input((3,), name="a"), L.Input((2,), name="b")
    joined = L.Concatenate()([a, b])
    model = L.Functional([a, b], [L.Dense(2, name="p")(joined), L.Dense(1, name="q")(joined)])
    trainer = compile_training(model, loss=["mse", "mae"], optimizer="sgd", batch_size=2).trainer()
    x, y = [np.ones((2, 3)), np.zeros((2, 2))], [np.ones((2, 2)), np.zeros(2)]
    before = trainer.evaluate(x, y)
    assert set(before) == {"loss", "p_loss", "q_loss"}
    assert before["loss"] == pytest.approx(before["p_loss"] + before["q_loss"])
    assert trainer.step(x, y) == pytest.approx(before["loss"])
    found = trainer.predict(x)
    assert [array.shape for array in found] == [(2, 2), (2, 1)]


def test_what_does_not_fit_a_step_is_refused_and_changes_nothing(built: Artifact) -> None:
    trainer = built.trainer()
    saved = trainer.save()
    with pytest.raises(DataError, match="exactly 4 rows, found 3"):
        trainer.step(X[:3], Y[:3])
    with pytest.raises(DataError, match="expected"):
        trainer.step(X[:4, :3], Y[:4])
    with pytest.raises(DataError, match="dtype"):
        trainer.step(X[:4], np.full(4, 0.5))
    for wrong in ([0, 1, 2, 3], [0, 1, 2, -1], [0, 1, 2, 2 ** 32]):
        with pytest.raises(DataError, match="the network has 3 classes"):
            trainer.step(X[:4], np.array(wrong))
    for rate in (float("nan"), float("inf"), -0.1, "fast"):
        with pytest.raises(DataError, match="learning_rate"):
            trainer.step(X[:4], Y[:4], rate)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no array"):
        trainer.predict([[1.0, 2.0], [3.0]])  # type: ignore[list-item]
    with pytest.raises(DataError, match="rows"):
        trainer.evaluate(X[:4], Y[:3])
    with pytest.raises(DataError, match="none of the weights"):
        trainer.set_weights({"hidden": np.zeros(3)})
    with pytest.raises(DataError, match="shape"):
        trainer.set_weights({"head/bias": np.ones(3), "head/kernel": np.zeros(3)})
    assert trainer.save() == saved


def test_a_build_that_does_not_train_is_no_trainer() -> None:
    with pytest.raises(DataError, match="does not train"):
        gg.compile(L.Sequential([L.Input((2,)), L.Dense(1)])).trainer()
    sources = compile_training(L.Sequential([L.Input((2,)), L.Dense(1)]), "generic", loss="mse")
    assert sources.library is None
    with pytest.raises(TargetError, match="C sources only"):
        sources.trainer()


def test_what_cannot_be_built_is_said() -> None:
    for wrong, said in (({"batch_size": 0}, "from 1 up"), ({"seed": -1}, "from 0 up"),
                        ({"calibration": (X[:2], Y[:2])}, "rows"),
                        ({"calibration": (X,)}, "expected .x, y.")):
        with pytest.raises(DataError, match=said):
            compile_training(_net(), loss="sparse_categorical_crossentropy",
                             **({"batch_size": BATCH} | wrong))  # type: ignore[arg-type]


def test_a_function_may_read_only_the_state_that_is_kept() -> None:
    model = L.Sequential([L.Input((2,)), L.Dense(1)])
    _, others = functions(model, choose_losses("mse", ["y"]), Adam(), 2)
    with pytest.raises(ModelError, match="does not keep"):
        join(plan(prepare(model)), "evaluate", plan(prepare(others["evaluate"])))


def test_the_description_names_defaults_and_weights(built: Artifact) -> None:
    described = json.loads(json.dumps(built.session().description))
    assert described["inputs"][-1]["default"] == pytest.approx(0.001)
    weights = {t["name"] for t in described["state"] if t.get("weight")}
    assert weights == set(built.trainer().get_weights())


def test_added_up_gradients_of_small_batches_train_as_one_large_batch() -> None:
    model = L.Sequential([L.Input((6, 6, 2)), L.Conv2D(4, 3, activation="tanh"), L.Flatten(),
                          L.Dense(3, "softmax")])
    build = lambda rows, **more: compile_training(  # noqa: E731
        model, loss="sparse_categorical_crossentropy", batch_size=rows, check=False,
        optimizer=gg.optimizers.SGD(momentum=0.9, learning_rate=0.1, **more))
    large, small = build(12), build(4, gradient_accumulation_steps=3)
    assert small.arena_bytes < large.arena_bytes
    whole, parts = large.trainer(), small.trainer()
    for _ in range(2):
        loss = whole.step(X, Y)
        assert np.mean(_epoch(parts)) == pytest.approx(loss, rel=1e-5)
    for name, weight in whole.get_weights().items():
        np.testing.assert_allclose(parts.get_weights()[name], weight, atol=1e-6)


def test_a_budget_that_no_cut_meets_is_answered_with_the_batch_that_does() -> None:
    model = L.Sequential([L.Input((16, 16, 1)), L.Conv2D(8, 3, activation="tanh"),
                          L.GlobalAveragePooling2D(), L.Dense(3, "softmax")])
    build = lambda rows, method, budget: compile_training(  # noqa: E731
        model, loss="sparse_categorical_crossentropy", batch_size=rows, check=False,
        optimizer=method, memory_bytes=budget)
    with pytest.raises(TargetError) as refused:
        build(64, "sgd", 60_000)
    found = re.search(r"batch_size of (\d+) with gradient_accumulation_steps=(\d+).* takes (\d+)",
                      str(refused.value))
    assert found is not None
    rows, steps, nbytes = (int(word) for word in found.groups())
    assert rows * steps == 64
    assert nbytes <= 60_000
    built = build(rows, gg.optimizers.SGD(gradient_accumulation_steps=steps), 60_000)
    assert built.arena_bytes + built.state_bytes <= nbytes


def test_a_step_is_made_to_fit_the_memory_of_its_target() -> None:
    model = L.Sequential([L.Input((24, 24, 1)), *[
        layer for _ in range(4) for layer in (L.Conv2D(12, 3, padding="same"),
                                              L.BatchNormalization(), L.Activation("relu"))],
        L.GlobalAveragePooling2D(), L.Dense(3)])
    built = compile_training(model, replace(target("generic"), ram_bytes=160_000), loss="mse",
                             optimizer="sgd", batch_size=1)
    assert built.arena_bytes + built.state_bytes <= 160_000
    free = compile_training(model, "generic", loss="mse", optimizer="sgd", batch_size=1)
    assert free.arena_bytes + free.state_bytes > 160_000
