"""Kernels chosen by measurement: the choices are sound, repeat, and never reach the answers."""

import itertools
import os
from dataclasses import replace

import numpy as np
import pytest
from tests.support.networks import NETWORKS, drawn_inputs

import ganglion as gg
from ganglion import cpu
from ganglion.artifact import tuning_cache
from ganglion.artifact.tune import BLOCK, Entry, contests, measure, operands, race, winner
from ganglion.artifact.tuning_cache import Section
from ganglion.compression import quantize
from ganglion.errors import DataError, TargetError, TrustError
from ganglion.kernels.registry import families
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.choices import (
    NO_CHOICES,
    Choices,
    candidates,
    choice_key,
    kernel_version,
)
from ganglion.plan.planner import plan
from ganglion.toolchain.compilers import compiler_version
from ganglion.toolchain.targets import host, target

SECONDS = 0.05


def small_integer():
    net = NETWORKS["residual"]()
    return quantize(net, calibration=drawn_inputs(net, 16))


def section(choices: Choices, **other: object) -> Section:
    """A section as this machine would write it."""
    own = Section(cpu.name(), host().isas, compiler_version(None), kernel_version(), choices)
    return replace(own, **other)


def last_choices(net, isas: tuple[str, ...]) -> Choices:
    """For every kernel, the candidate that the cost model likes least."""
    found = plan(ready_to_plan(net), isas)
    return Choices({choice_key(s.family, s.spec): max(
        candidates(s.family, s.spec, isas), key=lambda v: v.cost(s.spec)).name
        for s in found.steps})


@pytest.fixture(scope="module")
def tuned_build(tmp_path_factory):
    path = tmp_path_factory.mktemp("tuned") / "new" / "cache.json"
    return gg.compile(small_integer(), tune=SECONDS, tuning_cache=path), path


def test_a_tuned_build_passes_its_check_and_says_what_was_measured(tuned_build):
    built, _ = tuned_build
    choice = built.manifest["choice"]
    assert built.manifest["check"]["status"] == "passed"
    assert (choice["by"], choice["cpu"], choice["not_applicable"]) == ("measured", cpu.name(), 0)
    assert choice["steps"] == len(built.plan.steps)
    several = [s for s in built.plan.steps if len(candidates(s.family, s.spec, host().isas)) > 1]
    assert choice["measured"] <= len(several)
    if len(host().isas) > 1:
        assert choice["measured"] > 0


def test_tuned_variants_run_on_the_target_and_accept(tuned_build):
    built, _ = tuned_build
    for step in built.plan.steps:
        assert step.variant in {v.name for v in candidates(step.family, step.spec, host().isas)}


def test_the_same_cache_gives_the_same_bytes_and_is_not_measured_again(tuned_build):
    built, path = tuned_build
    before = path.read_bytes()
    named = gg.compile(small_integer(), tuning_cache=path)
    again = gg.compile(small_integer(), tune=SECONDS, tuning_cache=path)
    assert dict(named.files) == dict(again.files) == dict(built.files)
    assert path.read_bytes() == before


def test_a_cache_is_not_used_unless_named(tmp_path, monkeypatch):
    monkeypatch.setenv("GANGLION_CACHE", str(tmp_path))
    net = NETWORKS["dense"]()
    tuning_cache.write(tuning_cache.default_path(), [section(last_choices(net, host().isas))])
    assert tuning_cache.default_path().parent == tmp_path
    built = gg.compile(net, check=False)
    assert built.manifest["choice"] == {"by": "cost model"}
    assert [s.variant for s in built.plan.steps] == [
        s.variant for s in plan(ready_to_plan(net), host().isas).steps]


def test_tune_keeps_its_choices_in_the_default_place(tmp_path, monkeypatch):
    monkeypatch.setenv("GANGLION_CACHE", str(tmp_path / "kept"))
    gg.compile(NETWORKS["linear"](), tune=SECONDS, check=False, isas=("scalar",))
    kept, = tuning_cache.read(tmp_path / "kept" / "tuning.json")
    assert (kept.cpu, kept.isas) == (cpu.name(), ("scalar",))
    assert not kept.choices.variants, "with scalar kernels alone there is nothing to choose"


def test_choices_reach_every_kernel_and_leave_the_answers(tmp_path):
    net = small_integer()
    worst = last_choices(net, host().isas)
    tuning_cache.write(tmp_path / "c.json", [section(worst)])
    built = gg.compile(net, tuning_cache=tmp_path / "c.json")
    assert [s.variant for s in built.plan.steps] == [
        worst.of(s.family, s.spec) for s in built.plan.steps]
    assert built.manifest["choice"]["measured"] == len(built.plan.steps)
    x = drawn_inputs(net, 1)
    np.testing.assert_array_equal(built.session().run(*x),
                                  gg.compile(net, check=False).session().run(*x))


@pytest.mark.parametrize("wrong", ["no_such_variant", "other_processor", "not_accepted"])
def test_a_choice_that_cannot_be_followed_is_counted_and_left_to_the_cost_model(tmp_path, wrong):
    net = NETWORKS["cnn"]()
    plain = plan(ready_to_plan(net), host().isas)
    step = next(s for s in plain.steps if s.family == "conv2d")
    name = {"no_such_variant": "conv2d_of_yesterday",
            "other_processor": next(v.name for v in families()["conv2d"].variants
                                    if v.isa.name not in host().isas),
            "not_accepted": next((v.name for v in families()["conv2d"].variants
                                  if v.isa.name in host().isas and not v.accepts(step.spec)),
                                 "none")}[wrong]
    tuning_cache.write(tmp_path / "c.json", [
        section(Choices({choice_key(step.family, step.spec): name}))])
    built = gg.compile(net, check=False, tuning_cache=tmp_path / "c.json")
    same = sum(s.spec == step.spec for s in plain.steps)
    assert [s.variant for s in built.plan.steps] == [s.variant for s in plain.steps]
    assert built.manifest["choice"]["not_applicable"] == same
    assert built.manifest["choice"]["measured"] == 0


def test_contests_hold_what_the_cache_does_not_tell():
    net = NETWORKS["cnn"]()
    isas = ("avx2", "scalar")
    found = plan(ready_to_plan(net), isas)
    every = contests(found, isas, NO_CHOICES)
    keys = [choice_key(c.family, c.spec) for c in every]
    assert len(keys) == len(set(keys)) > 1
    for contest in every:
        assert contest.variants[0].name in {s.variant for s in found.steps
                                            if s.spec == contest.spec}
    known = Choices({keys[0]: every[0].variants[-1].name, keys[1]: "conv2d_of_yesterday"})
    assert [choice_key(c.family, c.spec) for c in contests(found, isas, known)] == keys[1:]


def test_drawn_operands_fit_every_candidate():
    net = small_integer()
    for contest in contests(plan(ready_to_plan(net), host().isas), host().isas, NO_CHOICES):
        arrays = operands(contest)
        for o in families()[contest.family].operands(contest.spec):
            assert (arrays[o.name].size, str(arrays[o.name].dtype)) == (o.size, o.dtype)


class Machine:
    """A clock, and kernels that take a known time a call: the n-th round is `noise[n]` slower."""

    def __init__(self, *noise: int) -> None:
        self.now, self.noise = 0, itertools.cycle(noise or (0,))

    def __call__(self) -> int:
        return self.now

    def kernel(self, nanoseconds: int) -> Entry:
        def call(pointers: object, count: int) -> None:
            self.now += (nanoseconds + next(self.noise)) * count

        return Entry(call, None, ())


def test_a_race_tells_each_time_through_interruptions():
    machine = Machine(0, 0, 0, 0, 0, 0, 900)
    entries = {"a": machine.kernel(1000), "b": machine.kernel(1500)}
    assert race(entries, 1 << 62, machine) == {"a": 1000, "b": 1500}


def test_a_race_drops_the_hopeless_and_keeps_to_its_deadline():
    machine = Machine()
    entries = {"a": machine.kernel(1_000_000), "b": machine.kernel(1_100_000),
               "slow": machine.kernel(9_000_000)}
    assert set(race(entries, 0, machine)) == {"a", "b"}
    assert machine.now < 2 * (1 + 1.1 + 9) * 1e6 + (BLOCK + 1) * 2.1e6


def test_the_cost_models_variant_stays_where_nothing_is_gained():
    assert winner({"a": 100.0, "b": 99.0}, "a") == "a"
    assert winner({"a": 100.0, "b": 90.0}, "a") == "b"
    assert winner({"b": 90.0, "c": 95.0}, "a") == "b"


@pytest.mark.parametrize("name", ["raspberrypi4", "wasm32", "cortex-m4", "generic"])
def test_another_machine_is_tuned_there(name, tmp_path):
    if name == "raspberrypi4" and cpu.machine() == "aarch64":
        pytest.skip("this machine is of that kind")
    with pytest.raises(TargetError, match="on the device"):
        gg.compile(NETWORKS["dense"](), name, tune=True, tuning_cache=tmp_path / "c.json")


def test_a_cache_of_a_device_serves_a_build_for_it(tmp_path):
    net, pi = NETWORKS["dense"](), target("raspberrypi4")
    chosen = last_choices(net, pi.isas)
    device = section(chosen, cpu="Cortex-A72", isas=pi.isas, compiler="gcc 12")
    tuning_cache.write(tmp_path / "c.json", [section(NO_CHOICES), device])
    built = gg.compile(net, pi, check=False, tuning_cache=tmp_path / "c.json")
    assert built.manifest["choice"]["cpu"] == "Cortex-A72"
    assert built.manifest["choice"]["measured"] == len(built.plan.steps)
    tuning_cache.write(tmp_path / "c.json", [device, replace(device, cpu="Cortex-A76")])
    with pytest.raises(DataError, match="several machines"):
        gg.compile(net, pi, check=False, tuning_cache=tmp_path / "c.json")


def test_this_processors_choices_come_first_then_this_compilers(tmp_path):
    path = tmp_path / "c.json"
    one = Choices({"conv2d:0": "a"})
    ours = section(one)
    tuning_cache.write(path, [section(NO_CHOICES, cpu="other"), ours,
                              section(NO_CHOICES, compiler="other")])
    assert tuning_cache.find(path, host(), compiler_version(None)) == ours


def test_a_cache_reads_back_as_written(tmp_path):
    sections = (section(Choices({"matmul:1": "b", "conv2d:0": "a"})), section(NO_CHOICES, cpu="z"))
    path = tmp_path / "sub" / "c.json"
    tuning_cache.write(path, sections)
    assert {s.cpu for s in sections} == {s.cpu for s in tuning_cache.read(path)}
    assert all(s in sections for s in tuning_cache.read(path))
    first = path.read_bytes()
    tuning_cache.write(path, sections[::-1])
    assert path.read_bytes() == first


def test_adding_replaces_the_like_and_drops_this_machines_void_ones(tmp_path):
    path = tmp_path / "c.json"
    void, other = section(NO_CHOICES, kernels="old"), section(NO_CHOICES, cpu="z", kernels="old")
    tuning_cache.write(path, [void, other, section(NO_CHOICES)])
    new = section(Choices({"conv2d:0": "a"}))
    tuning_cache.add(path, new)
    assert sorted(tuning_cache.read(path), key=lambda s: s.cpu == "z") == [new, other]


@pytest.mark.parametrize("text", [
    "", "{", "[]", "{}", '{"format": 2, "sections": []}', '{"format": 1}', "\xff",
    '{"format": 1, "sections": {}}', '{"format": 1, "sections": [3]}', "[" * 100_000,
    '{"format": 1, "sections": [{"cpu": 1}]}',
    '{"format": 1, "sections": [{"cpu": "", "isas": [], "compiler": "", "kernels": "", '
    '"choices": {"a": 1}}]}'])
def test_a_damaged_cache_is_refused_and_left_alone(tmp_path, text):
    path = tmp_path / "c.json"
    path.write_bytes(text.encode("latin-1"))
    for tune in (False, SECONDS):
        with pytest.raises(DataError, match="delete it"):
            gg.compile(NETWORKS["linear"](), tune=tune, tuning_cache=path)
    assert path.read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_is_no_cache(tmp_path, make):
    make(tmp_path / "c.json")
    for tune in (False, SECONDS):
        with pytest.raises(TrustError, match="expected a file"):
            gg.compile(NETWORKS["linear"](), tune=tune, tuning_cache=tmp_path / "c.json")


def test_a_cache_that_tells_nothing_for_the_target_is_refused(tmp_path):
    path, net = tmp_path / "c.json", NETWORKS["linear"]()
    with pytest.raises(DataError, match="there is no tuning cache"):
        gg.compile(net, tuning_cache=path)
    tuning_cache.write(path, [section(NO_CHOICES, isas=("neon", "other"))])
    with pytest.raises(DataError, match="no choices for the instruction sets"):
        gg.compile(net, tuning_cache=path)
    tuning_cache.write(path, [section(NO_CHOICES, kernels="old")])
    with pytest.raises(DataError, match="another version"):
        gg.compile(net, tuning_cache=path)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_tuning_takes_a_positive_time(seconds):
    with pytest.raises(DataError, match="positive number of seconds"):
        gg.compile(NETWORKS["linear"](), tune=seconds)


def test_every_familys_candidates_can_be_measured():
    wanted = [c for name in ("cnn", "lstm", "attention")
              for c in contests(plan(ready_to_plan(NETWORKS[name]()), host().isas), host().isas,
                                NO_CHOICES)]
    found = measure(wanted, host(), seconds=SECONDS)
    assert found.variants.keys() == {choice_key(c.family, c.spec) for c in wanted}
    for contest in wanted:
        assert found.of(contest.family, contest.spec) in {v.name for v in contest.variants}


def test_the_key_tells_specs_apart_by_their_whole_text():
    specs = {repr(s.spec): s for name in NETWORKS
             for s in plan(ready_to_plan(NETWORKS[name]())).steps}.values()
    assert len({choice_key(s.family, s.spec) for s in specs}) == len(specs)
    assert all("object at 0x" not in repr(s.spec) and "..." not in repr(s.spec) for s in specs)
