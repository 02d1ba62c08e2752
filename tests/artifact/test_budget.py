"""Training within a memory: the same values, computed again where they were not kept."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.networks import NETWORKS, drawn_inputs

import ganglion as gg
from ganglion import layers as L
from ganglion.artifact.budget import taken, ways, within
from ganglion.emit.c import describe, emit
from ganglion.errors import DataError, ModelError, TargetError
from ganglion.ops import marks
from ganglion.ops.bindings import bindings, initial_value
from ganglion.ops.evaluate import evaluate
from ganglion.passes.gradient.recompute import forward_part, recompute
from ganglion.passes.gradient.shorten_lives import ShortenLives
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan
from ganglion.toolchain.emulators import emulate
from ganglion.toolchain.targets import target
from ganglion.training.losses import MeanSquaredError
from ganglion.training.optimizers import SGD, Adam, Optimizer
from ganglion.training.step.building import build_step

LEARNING = ("cnn", "conv1d", "residual", "lstm", "bidirectional", "shapes", "attention",
            "two_heads")


def _step(model: ir.Model, rows: int = 4, optimizer: Optimizer | None = None) -> ir.Model:
    losses = [MeanSquaredError()] * len(model.graph.outputs)
    step = ready_to_plan(build_step(model, losses, optimizer or SGD(), rows, predictions=False))
    step.metadata_props[marks.LOSS] = "loss"
    return step


def _answers(step: ir.Model, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    feeds = {b.input: initial_value(step, b).numpy() for b in bindings(step)}
    for value in step.graph.inputs:
        if value.name not in feeds:
            feeds[str(value.name)] = generator.normal(size=value.shape.numpy()).astype(np.float32)
    return evaluate(step, feeds)


def _same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def _least(refusal: TargetError) -> int:
    return int(str(refusal).split("give memory_bytes=")[1].split(",")[0])


@pytest.mark.parametrize("name", LEARNING)
def test_what_is_computed_again_has_the_same_bits(name: str) -> None:
    step = _step(NETWORKS[name]())
    expected = _answers(step)
    count = len(forward_part(step, "loss").nodes)
    for cuts in ([count // 2], range(0, count, 3), range(1, count)):
        copy = step.clone(deep_copy=True)
        recompute(copy, "loss", list(cuts))
        assert _same(_answers(copy), expected), list(cuts)
        ShortenLives()(copy)
        assert _same(_answers(copy), expected)
        ready = ready_to_plan(copy)
        again = [n for n in ready.graph if marks.AGAIN in n.metadata_props]
        assert len(again) == len([n for n in copy.graph if marks.AGAIN in n.metadata_props])


@pytest.mark.parametrize("name", LEARNING)
def test_shorter_lives_take_no_more_memory_and_come_to_rest(name: str) -> None:
    step = _step(NETWORKS[name](), optimizer=Adam())
    before, nodes = plan(step), set(step.graph)
    ShortenLives()(step)
    assert set(step.graph) == nodes
    assert plan(step).arena_bytes <= before.arena_bytes * 1.02
    assert not ShortenLives()(step).modified


def test_an_update_stands_behind_its_gradient() -> None:
    """Else every gradient is alive at the end: as many bytes as all weights."""
    model = L.Sequential([L.Input((64,)), *[L.Dense(64, "tanh") for _ in range(8)]])
    step = _step(model, rows=1)
    late = plan(step)
    ShortenLives()(step)
    one = 64 * 64 * 4
    assert late.arena_bytes > 8 * one
    assert plan(step).arena_bytes < 2 * one


def test_plain_descent_stores_no_gradient_of_a_dense_layer() -> None:
    """It is taken off the weight where it is summed: a step fits in less than its weights."""
    model = L.Sequential([L.Input((96,)), L.Dense(80, "tanh"), L.Dense(64, "tanh"), L.Dense(2)])
    step = _step(model, rows=2)
    made = within(step, None, plan)
    assert plan(made).arena_bytes < 80 * 64 * 4 < plan(step).arena_bytes
    weights = {b.output for b in bindings(step)}
    expected, found = _answers(step), _answers(made)
    for name in weights:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    built = gg.compile_training(model, loss="mse", optimizer="sgd", batch_size=2, isas=["scalar"])
    assert built.arena_bytes < 80 * 64 * 4


def _deep(width: int = 16) -> ir.Model:
    return L.Sequential([L.Input((16, 16, 4)), *[
        layer for _ in range(4) for layer in (
            L.Conv2D(width, 3, padding="same"), L.BatchNormalization(), L.Activation("relu"))],
        L.GlobalAveragePooling2D(), L.Dense(3)])


@pytest.fixture(scope="module")
def deep() -> ir.Model:
    return _step(_deep())


def test_segments_hold_less_than_keeping_everything(deep: ir.Model) -> None:
    """With as many segments as the root of the depth (Chen et al., 2016)."""
    part = forward_part(deep, "loss")
    kept = sum(b.nbytes for b in part.buffers if b.needed)
    cut = deep.clone(deep_copy=True)
    count = len(part.nodes)
    recompute(cut, "loss", [count // 3, 2 * count // 3])
    assert plan(cut).arena_bytes < 0.75 * plan(deep).arena_bytes
    assert plan(deep).arena_bytes > kept


def test_a_budget_is_met_with_the_least_work_or_refused_with_the_least_that_works(
        deep: ir.Model) -> None:
    sizes: list[int] = []

    def planned(model: ir.Model) -> object:
        found = plan(model)
        sizes.append(taken(found))
        return found

    whole = taken(plan(deep))
    kept = plan(within(deep, whole, plan))
    assert taken(kept) <= whole
    assert kept.macs == plan(deep).macs
    with pytest.raises(TargetError, match="memory_bytes=1:") as refused:
        within(deep, 1, planned)  # type: ignore[arg-type]
    least = _least(refused.value)
    small_device = replace(target("cortex-m4"), ram_bytes=1)
    with pytest.raises(TargetError, match="the 1 bytes of RAM of target 'cortex-m4'"):
        within(deep, whole, plan, small_device)
    assert least == min(sizes) < 0.7 * whole
    small = within(deep, least, plan)
    assert taken(plan(small)) == least
    middle = (least + whole) // 2
    assert taken(plan(within(deep, middle, plan))) <= middle
    assert _same(_answers(small), _answers(within(deep, None, plan)))


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_cuts_of_any_network_keep_its_meaning(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(("residual", "two_heads", "conv1d")))
    step = STEPS[name]()
    count = len(forward_part(step, "loss").nodes)
    cuts = data.draw(st.lists(st.integers(0, count), max_size=6))
    heavy = data.draw(st.booleans())
    copy = step.clone(deep_copy=True)
    recompute(copy, "loss", cuts, (lambda n: n.op_type in ("Conv", "MatMul")) if heavy else None)
    assert _same(_answers(copy), _answers(step))


STEPS: dict[str, Callable[[], ir.Model]] = {
    name: (lambda name=name: _step(NETWORKS[name](), 2)) for name in LEARNING}


def test_products_are_computed_again_only_where_nothing_less_fits(deep: ir.Model) -> None:
    found = ways(deep, "loss")
    assert [w.work for w in found] == sorted(w.work for w in found)
    assert found[0].keep_heavy
    assert not found[-1].keep_heavy


def test_a_compiled_step_within_a_budget_gives_the_same_bits() -> None:
    """Statistics, dropout, momentum and all: whatever the budget, the same weights come out."""
    model = L.Sequential([
        L.Input((12, 12, 2)), L.Conv2D(8, 3, padding="same"), L.BatchNormalization(),
        L.Activation("relu"), L.Conv2D(8, 3, padding="same", activation="relu"),
        L.Dropout(0.2), L.Conv2D(8, 3, activation="tanh"), L.GlobalAveragePooling2D(),
        L.Dense(3, "softmax")])
    build = lambda budget: gg.compile_training(  # noqa: E731
        model, loss="sparse_categorical_crossentropy", optimizer="adam", batch_size=4,
        memory_bytes=budget, check=False)
    free = build(None)
    with pytest.raises(TargetError) as refused:
        build(1)
    least = _least(refused.value)
    tight = build(least)
    assert tight.arena_bytes + tight.state_bytes <= least < free.arena_bytes + free.state_bytes
    assert tight.plan.macs > free.plan.macs
    (x,), y = drawn_inputs(model, 4), np.array([0, 2, 1, 1])
    trainers = [free.trainer(), tight.trainer()]
    for _ in range(3):
        losses = [t.step(x, y) for t in trainers]
        assert losses[0] == losses[1]
    weights = [t.get_weights() | t.get_optimizer() for t in trainers]
    assert _same(*weights)


def test_a_network_that_only_answers_fits_or_is_refused() -> None:
    model = NETWORKS["cnn"]()
    needed = gg.compile(model, check=False).arena_bytes
    assert gg.compile(model, check=False, memory_bytes=needed).arena_bytes == needed
    with pytest.raises(TargetError, match=f"takes {needed} bytes at the least"):
        gg.compile(model, check=False, memory_bytes=needed - 1)
    for wrong in (0, -5, 1.5):
        with pytest.raises(DataError, match="whole number"):
            gg.compile(model, check=False, memory_bytes=wrong)  # type: ignore[arg-type]


def test_a_loss_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match="no output 'lost'"):
        forward_part(_step(NETWORKS["linear"]()), "lost")


@pytest.mark.gcc
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_a_tight_step_touches_no_byte_outside_of_its_memory() -> None:
    """Under the address and undefined-behaviour sanitizers, with blocks of exactly the sizes."""
    step = _step(_deep(), rows=2)
    whole = taken(plan(step))
    made = plan(within(step, int(0.7 * whole), plan), name="net")
    assert taken(made) < whole
    feeds = {p.name: np.random.default_rng(0).normal(size=p.shape).astype(p.dtype)
             for p in made.inputs}
    network = emulate(emit(made), replace(target("host"), isas=("scalar",)), describe(made),
                      cc="gcc", sanitize=True)
    (loss,) = network.run([feeds[p.name] for p in made.inputs])
    assert np.isfinite(loss).all()
