"""`ganglion bench`: how fast a build is, called as a program would call it."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ganglion.cli.show import print_json, print_table, say
from ganglion.errors import DataError, TargetError
from ganglion.runtime import BINDING, Session
from ganglion.toolchain.boards import BOARDS
from ganglion.toolchain.emulators import emulate
from ganglion.toolchain.targets import target

BATCH_ROWS = 64
LATENCIES = {"min_us": "least latency", "median_us": "median latency", "p90_us": "90th percentile",
             "p99_us": "99th percentile", "max_us": "greatest latency",
             "overhead_us": "of the median, the call from Python"}
SIZES = {"arena_bytes": "arena", "state_bytes": "state", "const_bytes": "flash: weights and tables",
         "library_bytes": "flash: the whole library"}


def run(build: Path, seconds: float, threads: int | None, as_json: bool) -> None:
    """Measures calls on `threads` (one if None) for about `seconds` and prints the figures."""
    session = Session(build, threads=threads)
    manifest = json.loads((build / "manifest.json").read_text(encoding="utf-8")) if (
        build / "manifest.json").is_file() else {}
    report = {"name": session.name, "target": manifest.get("target"), "binding": BINDING,
              "threads": threads or 1, "divided": session.divided,
              "isas": manifest.get("isas"), **latency(session, seconds),
              "arena_bytes": session.arena_bytes, "state_bytes": session.state_bytes,
              "const_bytes": manifest.get("const_bytes"),
              "library_bytes": _library_bytes(build, manifest)}
    if as_json:
        print_json(report)
        return
    isas = ", ".join(map(str, manifest.get("isas", ["unknown"])))
    say(f"{session.name} for {report['target']} ({isas}), called through {BINDING}"
        f"{_threads(session, threads)}")
    print_table("one call", ["figure", "value"], [
        *[[text, f"{report[key]:.2f} µs"] for key, text in LATENCIES.items()],
        *[[text, f"{report[key] or 0:,} bytes"] for key, text in SIZES.items()]])


def run_emulated(build: Path, as_json: bool) -> None:
    """Counts the instructions of one call on the emulated board of the build's target, and what it
    takes of the device's memory. Raises DataError for a folder without a manifest, TargetError
    where the target has no board or the emulator is missing."""
    described = build / "manifest.json"
    if not described.is_file():
        raise DataError(f"{build} holds no manifest.json: give a folder that `compile` wrote")
    manifest = json.loads(described.read_text(encoding="utf-8"))
    goal = target(str(manifest["target"]))
    if goal.emulator not in BOARDS:
        raise TargetError(f"target {goal.name!r} has no emulated board that counts instructions; "
                          f"run `ganglion bench` without --emulate, or on the device")
    files = {path.name: path.read_text(encoding="utf-8") for path in build.iterdir()
             if path.suffix in (".c", ".h")}
    network = emulate(files, goal, manifest["description"])
    generator = np.random.default_rng(0)
    inputs = [_drawn(tuple(p["shape"]), np.dtype(p["dtype"]), generator, 1)
              for p in manifest["description"]["inputs"]]
    cost = network.measured(inputs)[2]
    assert cost is not None
    report = {"name": manifest["name"], "target": goal.name, "isas": manifest.get("isas"),
              "instructions": cost.instructions, "macs": manifest.get("macs"),
              "arena_bytes": manifest["arena_bytes"], "state_bytes": manifest["state_bytes"],
              "stack_bytes": cost.stack_bytes, "const_bytes": manifest["const_bytes"]}
    if as_json:
        print_json(report)
        return
    say(f"{report['name']} for {goal.name} ({', '.join(manifest.get('isas', []))}), on qemu's "
        f"{goal.emulator}")
    print_table("one call", ["figure", "value"], [
        ["instructions", f"{cost.instructions:,}"],
        *[[SIZES[key], f"{report[key]:,} bytes"] for key in ("arena_bytes", "state_bytes",
                                                             "const_bytes")],
        ["stack", f"{cost.stack_bytes:,} bytes"]])


def _threads(session: Session, threads: int | None) -> str:
    if threads is None or threads == 1:
        return ""
    return f", on {threads} threads" if session.divided else ", on one thread (not divided)"


def _library_bytes(build: Path, manifest: dict[str, object]) -> int:
    library = manifest.get("library")
    return (build / str(library)).stat().st_size if library else 0


def latency(session: Session, seconds: float = 1.0, seed: int = 0) -> dict[str, float]:
    """Distribution of one call's time in µs, and what of it is the call from Python.

    The overhead is the median call less the time of a row when many rows are run in one call (0
    where the network takes several rows a call). Raises DataError for a network with state.
    """
    if session.state_bytes:
        raise DataError(f"network {session.name!r} keeps state between calls; benchmark the build "
                        "without --streaming")
    generator = np.random.default_rng(seed)
    inputs = [_drawn(p.shape, p.dtype, generator, 1) for p in session.inputs]
    outputs = [np.empty(p.shape, p.dtype) for p in session.outputs]
    given = inputs[0] if len(inputs) == 1 else inputs
    wanted = outputs[0] if len(outputs) == 1 else outputs
    for _ in range(20):
        session.run_into(given, wanted)
    times = _times(lambda: session.run_into(given, wanted), seconds)
    figures = {"min_us": times.min(), "median_us": np.median(times),
               "p90_us": np.percentile(times, 90), "p99_us": np.percentile(times, 99),
               "max_us": times.max(), "overhead_us": 0.0}
    if all(p.shape and p.shape[0] == 1 for p in session.inputs):
        rows = [_drawn(p.shape, p.dtype, generator, BATCH_ROWS) for p in session.inputs]
        many = _times(lambda: session.run(*rows, threads=1), seconds / 2)
        figures["overhead_us"] = max(0.0, float(np.median(times) - np.median(many) / BATCH_ROWS))
    return {name: float(value) for name, value in figures.items()}


def _times(call: Callable[[], object], seconds: float) -> np.ndarray:
    """µs of each call."""
    found, clock = [], time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    while clock() < end:
        start = clock()
        call()
        found.append(clock() - start)
    return np.asarray(found) / 1e3


def _drawn(shape: tuple[int, ...], dtype: np.dtype[np.generic], generator: np.random.Generator,
           rows: int) -> np.ndarray:
    shape = (rows, *shape[1:]) if rows > 1 else shape
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)
