"""Which variant is fastest here? Every kernel of a plan is measured in every promising way.

The candidates of all kernels are compiled into one library, and called in turn, so that a slow
moment of the machine meets all of them alike. A candidate's time is the least of the medians of
blocks of calls: interruptions only ever add. Its operands are warm, as they mostly are in a
network whose arena fits the cache.
"""

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from ganglion import cpu
from ganglion.artifact import tuning_cache
from ganglion.artifact.tuning_cache import Section
from ganglion.errors import TargetError
from ganglion.kernels.base import CTYPES, Operand, Variant, render
from ganglion.kernels.registry import families
from ganglion.kernels.source import prelude
from ganglion.plan.choices import NO_CHOICES, Choices, candidates, choice_key, kernel_version
from ganglion.plan.types import Plan
from ganglion.runtime.arrays import aligned_block
from ganglion.runtime.loader import Library, open_library
from ganglion.toolchain.compilers import compile_sources, compiler_version
from ganglion.toolchain.emulators import available
from ganglion.toolchain.targets import Target

SECONDS = 20.0
"""How long a network is measured at most, compiling not counted."""

UNLIKELY = 8.0
"""A variant estimated to take this many times the least estimate is not tried."""

HOPELESS = 3.0
"""A variant whose first calls take this many times the fastest one's is not measured further."""

GAIN = 0.97
"""The cost model's variant stays unless another takes at most this part of its time."""

BLOCK, ROUNDS = 5, 40
SLICE_NS = 300_000
"""Calls are timed together until they last this long, far above the clock's and ctypes' own."""

Clock = Callable[[], int]


@dataclass(frozen=True)
class Contest:
    """One thing to compute, and the variants that may; the cost model's choice comes first."""

    family: str
    spec: object
    variants: tuple[Variant[object], ...]


@dataclass(frozen=True)
class Entry:
    """A candidate ready to run: `call(p, n)` runs it n times; `arrays` keep its memory alive."""

    call: Callable[[object, int], None]
    pointers: object
    arrays: tuple[np.ndarray, ...]


def check_tunable(target: Target) -> None:
    """Raises TargetError for a target whose code this machine does not run itself."""
    if target.emulator != "native" or not available(target):
        raise TargetError(f"target {target.name!r} does not run on this machine, so its kernels "
                          "cannot be measured here: run `ganglion compile --tune --tune-cache "
                          "FILE` on the device, copy FILE, and build here with --tune-cache FILE")


def tuned(plan: Plan, target: Target, path: Path, *, seconds: float = SECONDS,
          cc: str | None = None) -> Section:
    """Measures what the cache file at `path` does not tell about the kernels of a plan made by
    the cost model, adds it to the file, and gives all that this machine's section holds now.

    Raises TargetError for another machine's target, DataError for a damaged file.
    """
    check_tunable(target)
    empty = Section(cpu.name(), target.isas, compiler_version(cc), kernel_version(), NO_CHOICES)
    sections = tuning_cache.read(path) if path.exists() else ()
    known = next((s for s in sections if s.measured_like(empty)), empty)
    wanted = contests(plan, target.isas, known.choices)
    if not wanted and known in sections:
        return known
    found = measure(wanted, target, seconds=seconds, cc=cc)
    section = replace(known, choices=Choices({**known.choices.variants, **found.variants}))
    tuning_cache.add(path, section)
    return section


def contests(plan: Plan, isas: tuple[str, ...], known: Choices) -> list[Contest]:
    """What is to be measured for a plan: each kernel once, those with a choice that holds not."""
    found: dict[str, Contest] = {}
    for step in plan.steps:
        able = candidates(step.family, step.spec, isas)
        costs = {v.name: v.cost(step.spec) for v in able}
        if known.of(step.family, step.spec) in costs:
            continue
        able = sorted((v for v in able if costs[v.name] <= UNLIKELY * min(costs.values())),
                      key=lambda v: costs[v.name])
        if len(able) > 1:
            found[choice_key(step.family, step.spec)] = Contest(step.family, step.spec,
                                                                tuple(able))
    return list(found.values())


def measure(given: Sequence[Contest], target: Target, *, seconds: float = SECONDS,
            cc: str | None = None, clock: Clock = time.perf_counter_ns) -> Choices:
    """The fastest variant of each contest on this machine. Raises TargetError, ToolchainError."""
    check_tunable(target)
    if not given:
        return Choices()
    files = {"tuning.c": source(given)}
    made = compile_sources(files, target, name="tuning", cc=cc)
    assert made.library is not None
    library = open_library(made.files[made.library], target.kind.suffix, "the tuning library")
    end = clock() + int(seconds * 1e9)
    chosen: dict[str, str] = {}
    number = 0
    for place, contest in enumerate(given):
        arrays = operands(contest)
        entries = {}
        for variant in contest.variants:
            entries[variant.name] = _entry(library, number, contest, variant, arrays)
            number += 1
        now = clock()
        times = race(entries, now + max(0, end - now) // (len(given) - place), clock)
        chosen[choice_key(contest.family, contest.spec)] = winner(
            times, contest.variants[0].name)
    return Choices(chosen)


def winner(times: Mapping[str, float], incumbent: str) -> str:
    """The name with the least time; the incumbent unless that gains enough.

    >>> winner({"a": 1.0, "b": 0.99}, "a"), winner({"a": 1.0, "b": 0.9}, "a")
    ('a', 'b')
    """
    best = min(times, key=lambda name: times[name])
    if incumbent in times and times[best] > GAIN * times[incumbent]:
        return incumbent
    return best


def race(entries: Mapping[str, Entry], deadline: int, clock: Clock) -> dict[str, float]:
    """Nanoseconds a call of each entry that is not hopeless. At least a block of rounds is run
    whatever `deadline` (of `clock`) says."""
    first = {name: _first(entry, clock) for name, entry in entries.items()}
    least = min(first.values())
    running = {n: max(1, round(SLICE_NS / t)) for n, t in first.items() if t <= HOPELESS * least}
    samples: dict[str, list[float]] = {name: [] for name in running}
    for done in range(ROUNDS):
        if done % BLOCK == 0 and done and clock() > deadline:
            break
        for name, count in running.items():
            samples[name].append(_timed(entries[name], count, clock))
    return {name: min(median(found[i:i + BLOCK]) for i in range(0, len(found), BLOCK))
            for name, found in samples.items()}


def _first(entry: Entry, clock: Clock) -> float:
    """A first idea of a call's time, warm, in ns; never 0."""
    count = 1
    _timed(entry, 1, clock)
    while (found := _timed(entry, count, clock)) * count < SLICE_NS / 8 and count < 1 << 20:
        count *= 4
    return max(found, 1e-3)


def _timed(entry: Entry, count: int, clock: Clock) -> float:
    start = clock()
    entry.call(entry.pointers, count)
    return (clock() - start) / count


def source(given: Sequence[Contest]) -> str:
    """C with every candidate and a `void time_K(void **p, int n)` for each.

    The kernel is called through a volatile pointer: no call can be moved out of its loop.
    """
    parts: list[str] = []
    number = 0
    for contest in given:
        family = families()[contest.family]
        described = family.operands(contest.spec)
        for variant in contest.variants:
            arguments = [f"({CTYPES[o.dtype]} *)p[{i}]" for i, o in enumerate(described)]
            if variant.scratch_bytes(contest.spec):
                arguments.append(f"p[{len(described)}]")
            parts.append(render(family, variant, contest.spec, f"kernel_{number}"))
            parts.append(_TIMER.replace("@", str(number)).replace(
                "ARGUMENTS", ", ".join(arguments)))
            number += 1
    kernels = "\n".join(parts)
    return prelude([v.isa for c in given for v in c.variants], kernels) + kernels


_TIMER = """\
static void call_@(void **p) { kernel_@(ARGUMENTS); }
void time_@(void **p, int n);
void time_@(void **p, int n)
{
    void (*volatile call)(void **) = call_@;
    for (int i = 0; i < n; ++i)
        call(p);
}
"""


def operands(contest: Contest) -> dict[str, np.ndarray]:
    """Drawn inputs and constants, and room for outputs, by operand name.

    Wide integers are 0, since some are indices; floats are positive, since some are variances.
    """
    rng = np.random.default_rng(0)
    return {o.name: _drawn(o, rng) for o in families()[contest.family].operands(contest.spec)}


def _drawn(operand: Operand, rng: np.random.Generator) -> np.ndarray:
    dtype = np.dtype(operand.dtype)
    if operand.role == "output" or (dtype.itemsize > 2 and dtype.kind != "f"):
        return np.zeros(operand.size, dtype)
    if dtype.kind == "f":
        return rng.uniform(0.25, 1.0, operand.size).astype(dtype)
    high = 2 if dtype.kind == "b" else 100
    return rng.integers(0, high, operand.size).astype(dtype)


_TIMED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)


def _entry(library: Library, number: int, contest: Contest, variant: Variant[object],
           arrays: Mapping[str, np.ndarray]) -> Entry:
    described = families()[contest.family].operands(contest.spec)
    given = dict(arrays)
    if variant.pack is not None:
        given |= variant.pack(contest.spec, {o.name: given[o.name] for o in described
                                             if o.role == "const"})
    placed = [_placed(given[o.name]) for o in described]
    placed.append(aligned_block(variant.scratch_bytes(contest.spec)))
    table = (ctypes.c_void_p * len(placed))(*(a.ctypes.data for a in placed))
    return Entry(_TIMED(library.address(f"time_{number}")), table, tuple(placed))


def _placed(array: np.ndarray) -> np.ndarray:
    """The array's bytes where a build would have them: aligned."""
    block = aligned_block(array.nbytes)
    block[:array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return block
