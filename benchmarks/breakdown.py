"""Where a network's time goes: each step of the Plan, timed inside one call of the generated C.

The run function is copied with a reading of the processor's time-stamp counter after every step, so
each step finds the caches as it does in use. Needs the default compiler (clang), whose
`__builtin_readcyclecounter` reads that counter.
"""

import ctypes
import re
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.machine import open_library
from ganglion.artifact import Artifact
from ganglion.runtime.arrays import aligned_block

CALL = re.compile(r"^    k\d+_\w+\(.*\);$", re.MULTILINE)
REPEATS = 300
LEAST_SECONDS = 0.2


@dataclass(frozen=True)
class Part:
    """One step's share: µs (the least of many calls) and multiply-adds."""

    node: str
    variant: str
    us: float
    macs: int


def steps(artifact: Artifact, inputs: list[np.ndarray]) -> list[Part]:
    """Every step of a build for this machine, in order."""
    plan = artifact.plan
    ticks = _ticks(artifact, inputs)
    rate = _ticks_a_microsecond()
    return [Part(step.node, step.variant, float(t) / rate, step.macs)
            for step, t in zip(plan.steps, ticks)]


def dominant(parts: list[Part], count: int = 3) -> str:
    """The slowest kinds of step: "conv2d 61 %, pool 12 %"; a kind is a kernel's family."""
    total = sum(p.us for p in parts)
    kinds: dict[str, float] = {}
    for part in parts:
        kind = part.variant.partition("__")[0]
        kinds[kind] = kinds.get(kind, 0.0) + part.us
    first = sorted(kinds.items(), key=lambda item: -item[1])[:count]
    return ", ".join(f"{kind} {us / total:.0%}" for kind, us in first if us >= 0.05 * total)


def _ticks(artifact: Artifact, inputs: list[np.ndarray]) -> np.ndarray:
    """The least ticks of every step, over many calls."""
    plan = artifact.plan
    library = _library(artifact)
    profile = library[f"{plan.name}_profile"]
    outputs = [np.empty(p.shape, p.dtype) for p in plan.outputs]
    arena = aligned_block(max(plan.arena_bytes, 1))
    state = aligned_block(max(plan.state_bytes, 1))
    library[f"{plan.name}_reset"](ctypes.c_void_p(state.ctypes.data))
    stamps = np.zeros(len(plan.steps) + 1, np.uint64)
    best = np.full(len(plan.steps), np.iinfo(np.uint64).max, np.uint64)
    given = (ctypes.c_void_p * len(inputs))(*(x.ctypes.data for x in inputs))
    wanted = (ctypes.c_void_p * len(outputs))(*(y.ctypes.data for y in outputs))
    end = time.perf_counter() + LEAST_SECONDS
    calls = 0
    while calls < REPEATS or time.perf_counter() < end:
        profile(given, wanted, *(ctypes.c_void_p(block.ctypes.data)
                                 for block in (state, arena, stamps)))
        best = np.minimum(best, np.diff(stamps))
        calls += 1
    return best


def instrumented(source: str, name: str, count: int) -> str:
    """The generated C with a function NAME_profile beside NAME_run.

    It takes one more argument, `count` + 1 time stamps: before the first step, after each one.
    """
    head = f"int {name}_run("
    body = source[source.rindex(head):]
    body = body[:body.index("\n}\n") + 3]
    found = CALL.findall(body)
    if len(found) != count:
        raise ValueError(f"{len(found)} calls in the run function for {count} steps")
    numbers = iter(range(1, count + 1))
    stamp = "ticks[{}] = __builtin_readcyclecounter();"
    body = CALL.sub(lambda m: f"{m.group(0)}\n    {stamp.format(next(numbers))}", body)
    first = CALL.search(body)
    if first is not None:
        body = f"{body[:first.start()]}    {stamp.format(0)}\n{body[first.start():]}"
    signature = (f"int {name}_profile(const void *const *inputs, void *const *outputs, "
                 f"void *state, void *arena, unsigned long long *ticks)")
    rest = body[body.index("{"):]
    return f"{source}\n{signature};\n{signature}\n{rest}"


def _library(artifact: Artifact) -> ctypes.CDLL:
    name = artifact.plan.name
    files = {n: data.decode() for n, data in artifact.files.items() if n.endswith((".c", ".h"))}
    main = f"{name}.c"
    files[main] = instrumented(files[main], name, len(artifact.plan.steps))
    return open_library(files, name)


def _ticks_a_microsecond() -> float:
    """The counter's rate, from a function that reads it, over 20 ms."""
    source = ("unsigned long long ticks_now(void);\n"
              "unsigned long long ticks_now(void) { return __builtin_readcyclecounter(); }\n")
    now = open_library({"ticks.c": source}, "ticks")["ticks_now"]
    now.restype = ctypes.c_uint64
    start, ticks = time.perf_counter_ns(), now()
    time.sleep(0.02)
    return float((now() - ticks) / ((time.perf_counter_ns() - start) / 1e3))
