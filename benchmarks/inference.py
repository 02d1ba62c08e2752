"""`python -m benchmarks.inference [-o FOLDER]`: one network after another, ours and every peer.

One process on one pinned core, one thread each, in turn over many rounds (see `timing`). Writes
inference.json, inference.md and inference.png into the folder.
"""

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import breakdown, growth, machine, report
from benchmarks.cases import Case, Skipped, candidates, prepare
from benchmarks.core import pin
from benchmarks.probe import apart
from benchmarks.runtimes import OURS, RUNTIMES, Loaded, Runtime, version
from benchmarks.timing import round_robin
from ganglion.errors import GanglionError

Row = dict[str, Any]


def main() -> None:
    """Measures what the command line asks for, prints and writes the tables."""
    options = _options()
    core = pin(options.core)
    installed = [r for r in RUNTIMES.values() if version(r.module)]
    found: Row = {
        "machine": machine.name(), "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "core": core, "load_before": machine.load(),
        "runtimes": {r.name: version(r.module) for r in RUNTIMES.values()}}
    peaks = machine.measure()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        rows = []
        for candidate in candidates():
            if options.only and options.only not in candidate.name:
                continue
            try:
                case = prepare(candidate, Path(folder))
            except GanglionError as error:
                case = Skipped(candidate.name, f"{type(error).__name__}: {error}")
            if isinstance(case, Skipped):
                row: Row = {"name": case.name, "skipped": case.reason}
            else:
                row, near = beside_peaks(case, installed, options)
                peaks = peaks.best(near)
            _say(report.one_line(row))
            rows.append(row)
        found |= {"networks": rows, "peaks": figures(peaks)}
        found["growth"] = [] if options.no_growth else growth.measure(
            installed, Path(folder), options.seconds)
    found["load_after"] = machine.load()
    report.write_inference(found, options.output)
    _say((options.output / "inference.md").read_text())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--only", help="networks whose name contains this")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each runtime and network")
    parser.add_argument("--core", type=int, help="to run on; the last one by default")
    parser.add_argument("--no-growth", action="store_true")
    parser.add_argument("--no-probe", action="store_true", help="no start-up and memory")
    return parser.parse_args()


def measure(case: Case, installed: list[Runtime], options: argparse.Namespace) -> Row:
    """Everything about one network."""
    loaded, refused = load_all(case, installed)
    for each in loaded.values():
        each.call()
    answers = {name: each.answer() for name, each in loaded.items()}
    differences = {name: difference(answers[OURS.name], answer)
                   for name, answer in answers.items()
                   if name != OURS.name and RUNTIMES[name].same_weights}
    times = round_robin({name: each.call for name, each in loaded.items()}, options.seconds)
    parts = breakdown.steps(case.artifact, case.inputs)
    ours = times[OURS.name]
    peers = {name: us for name, us in times.items() if name != OURS.name}
    return {
        "name": case.name, "macs": case.macs, "weight_bytes": case.weight_bytes,
        "us": times, "refused": refused, "best_peer": min(peers, key=peers.__getitem__, default=""),
        "ratio": min(peers.values()) / ours if peers else None,
        "integer": case.integer, "difference": differences,
        "largest_output": max(float(np.abs(a).max()) for a in answers[OURS.name]),
        "compile_seconds": case.compile_seconds, "arena_bytes": case.artifact.arena_bytes,
        "file_bytes": {OURS.name: case.artifact.library_bytes,
                       **{n: case.files[RUNTIMES[n].form].stat().st_size for n in peers}},
        "probe": {} if options.no_probe else probe_all(case, list(loaded)),
        "dominant": breakdown.dominant(parts),
        "steps": [{"node": p.node, "variant": p.variant, "us": p.us, "macs": p.macs}
                  for p in parts]}


def beside_peaks(case: Case, installed: list[Runtime], options: argparse.Namespace
                 ) -> tuple[Row, machine.Peaks]:
    """A network's row with its bound, by the peaks directly before and after: a shared machine is
    not as fast at one minute as at another."""
    before = machine.measure()
    before.read(case.weight_bytes)
    row = measure(case, installed, options)
    near = before.best(machine.measure())
    return bounded(row, near), near


def bounded(row: Row, peaks: machine.Peaks) -> Row:
    """The row with the machine's bound."""
    bound = peaks.bound_us(row["macs"], row["weight_bytes"], row["integer"])
    return row | {"bound_us": bound, "bound_share": bound / row["us"][OURS.name]}


def figures(peaks: machine.Peaks) -> Row:
    """For the report."""
    sizes = (1 << 14, 1 << 18, 1 << 20, 1 << 22, 1 << 24)
    return {"isas": list(peaks.isas), "float_gmacs": peaks.float_macs / 1e9,
            "int8_gmacs": peaks.int8_macs / 1e9,
            "read_gb_s": {n: peaks.read(n) / 1e9 for n in sizes}}


def load_all(case: Case, installed: list[Runtime]) -> tuple[dict[str, Loaded], dict[str, str]]:
    """The network in every runtime that has a file of it and takes it; why the others do not."""
    loaded: dict[str, Loaded] = {}
    refused = dict(case.unwritten)
    for runtime in installed:
        if runtime.form not in case.files:
            refused.setdefault(runtime.name, f"no .{runtime.form} file")
            continue
        try:
            loaded[runtime.name] = runtime.load(case.files[runtime.form], case.inputs)
        except Exception as error:
            if runtime is OURS:
                raise
            refused[runtime.name] = f"{type(error).__name__}: {str(error).strip()[:200]}"
    return loaded, refused


def difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """The largest difference of any output element; steps of the last place for integers."""
    return max(float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
               for a, b in zip(ours, theirs))


def probe_all(case: Case, names: list[str]) -> dict[str, dict[str, float]]:
    """Start-up and memory of each runtime, in processes of their own."""
    inputs = case.files["onnx"].with_name("inputs.npz")
    np.savez(inputs, *case.inputs)
    return {n: apart(n, case.files[RUNTIMES[n].form], inputs) for n in names}


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
