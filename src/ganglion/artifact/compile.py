"""Model → Artifact: prepared, planned, emitted, compiled, checked."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ganglion.artifact.artifact import Artifact, manifest_bytes
from ganglion.artifact.budget import require_intended, require_within, taken, within
from ganglion.artifact.check import Subject
from ganglion.artifact.check import check as check_build
from ganglion.artifact.fits import check_memory
from ganglion.artifact.running import emulated_run, native_run, native_walk
from ganglion.artifact.samples import COUNT, drawn, enough, free_inputs, special
from ganglion.artifact.samples import given as given_samples
from ganglion.artifact.tune import SECONDS, tuned
from ganglion.artifact.tuning_cache import Section, default_path, find
from ganglion.emit.c import describe, emit
from ganglion.errors import DataError
from ganglion.ops import marks
from ganglion.ops.bindings import bindings
from ganglion.ops.graph import require_model, require_numbers
from ganglion.ops.shapes import Shapes, with_shapes
from ganglion.passes.pipeline import ready_to_plan
from ganglion.passes.streaming.stream import sequences
from ganglion.plan.choices import NO_CHOICES, Choices
from ganglion.plan.join import join
from ganglion.plan.names import require_function_name
from ganglion.plan.planner import plan as make_plan
from ganglion.plan.types import Plan
from ganglion.toolchain.compilers import Compiled, compile_sources, compiler_version
from ganglion.toolchain.emulators import available
from ganglion.toolchain.targets import Target
from ganglion.toolchain.targets import target as find_target

Calibration = np.ndarray | Sequence[np.ndarray] | Mapping[str, np.ndarray]
MANIFEST_FORMAT = 1


def compile(model: ir.Model, target: str | Target = "host", *, name: str | None = None,
            batch: int = 1, shapes: Shapes | None = None, calibration: Calibration | None = None,
            check: bool = True, cc: str | None = None, isas: Sequence[str] | None = None,
            streaming: bool = False, hybrid: bool = False, samples: int = COUNT,
            tune: bool | float = False, tuning_cache: str | Path | None = None,
            entries: Mapping[str, ir.Model] | None = None,
            memory_bytes: int | None = None, cores: int | None = None) -> Artifact:
    """Builds a network for a target and checks the build against the reference.

    `target`: a name of the target table or a row. `batch`: rows a call, for a symbolic first
    dimension. `shapes`: sizes of inputs by name that the network leaves open. `calibration`: real
    inputs to check on (one array, a sequence, or by name); drawn ones otherwise. `cc`: another
    compiler's command line. `isas`: fewer instruction sets. `streaming`: one time step a call, with
    the recurrent state kept between calls. `hybrid`: products of float activations by weights
    stored as int8 are taken in int8, the activations quantised on the fly: faster, and rounded to
    256 steps (`passes.quantized.hybrid`). `samples`: how many inputs the check takes; a small
    network's takes more. `tune`: measure the kernels' variants on this machine, for at most this
    many seconds if a number, and keep the choices in `tuning_cache` (a file in this system's folder
    for caches if None). Without `tune`, a `tuning_cache` measured before, here or on the device, is
    followed; where neither is given the cost model decides. `entries`: further functions over the
    same state, by name: Models that bind nothing but what `model` binds; each is checked on its
    own. `memory_bytes`: what arena and state may take together, at most 1 GiB with inputs and
    outputs if None; a training step computes activations a second time rather than take more, or
    than the target has (`artifact.budget`). `cores`: how many the steps of a network above a
    million MACs are divided for, those of the target if None; 1 keeps it whole, and its code
    smaller.
    Raises UnsupportedOp, ModelError, DataError (calibration, batch, samples or cores; a damaged
    or unfitting tuning cache), TargetError (does not fit the target or `memory_bytes`,
    or cannot be measured here),
    ToolchainError, CheckError.
    """
    require_model(model, "compile")
    goal = _goal(target, isas)
    cores = goal.cores if cores is None else cores
    for argument, number in (("batch", batch), ("samples", samples), ("cores", cores)):
        if not isinstance(number, int) or number < 1:
            raise DataError(f"{argument}={number!r}: expected a whole number from 1 up")
    for function in entries or {}:
        require_function_name(function)
    require_numbers(model)
    model = model if shapes is None else with_shapes(model, shapes)
    ready = ready_to_plan(model, batch, streaming, hybrid)
    ready = within(ready, memory_bytes, lambda m: make_plan(m, goal.isas), goal)
    functions = {"run": ready} | {n: ready_to_plan(m, batch) for n, m in (entries or {}).items()}
    plan = _planned(functions, goal, name, cores)
    if marks.LOSS not in ready.metadata_props:
        require_intended(plan, memory_bytes)
    section = _measured(plan, goal, tune, tuning_cache, cc)
    if section is not None:
        plan = _planned(functions, goal, name, cores, section.choices)
    check_memory(plan, goal)
    require_within(plan, memory_bytes)
    sources = emit(plan)
    compiled = compile_sources(sources, goal, name=plan.name, cc=cc, functions=list(functions))
    figures: Mapping[str, object] = {"status": "not run", "reason": "not asked for"}
    if check:
        given = {"run": model, **(entries or {})}
        build = _Build(plan, goal, sources, compiled)
        found = {n: _checked(build, m, given[n], n, calibration, samples, streaming)
                 for n, m in functions.items()}
        figures = {**found.pop("run"), **({"entries": found} if found else {})}
    return _artifact(plan, goal, sources, compiled, figures, section)


def memory_needed(model: ir.Model, target: str | Target = "host",
                  isas: Sequence[str] | None = None) -> int:
    """Bytes of arena and state that a build of the Model would take, everything kept."""
    return taken(make_plan(ready_to_plan(model), _goal(target, isas).isas))


def _goal(target: str | Target, isas: Sequence[str] | None) -> Target:
    goal = target if isinstance(target, Target) else find_target(target)
    return goal if isas is None else goal.with_isas(isas)


def _planned(functions: Mapping[str, ir.Model], target: Target, name: str | None, cores: int,
             choices: Choices = NO_CHOICES) -> Plan:
    """The plan of "run", divided for `cores`, joined by those of the other functions."""
    first, *others = ((n, make_plan(m, target.isas, name, choices,
                                    cores if n == "run" else 1)) for n, m in functions.items())
    plan = first[1]
    for function, other in others:
        plan = join(plan, function, other)
    return plan


def _measured(plan: Plan, target: Target, tune: bool | float, path: str | Path | None,
              cc: str | None) -> Section | None:
    """The measured choices to follow, or None for the cost model."""
    if tune is False:
        return None if path is None else find(Path(path), target, compiler_version(cc))
    if not tune > 0:
        raise DataError(f"tune={tune!r}: give True, or a positive number of seconds")
    return tuned(plan, target, default_path() if path is None else Path(path),
                 seconds=SECONDS if tune is True else float(tune), cc=cc)


@dataclass(frozen=True)
class _Build:
    """What was built, to be run by its check."""

    plan: Plan
    target: Target
    sources: Mapping[str, str]
    compiled: Compiled


def _checked(build: _Build, planned: ir.Model, given: ir.Model, function: str,
             calibration: Calibration | None, count: int, streaming: bool) -> Mapping[str, object]:
    inputs = free_inputs(planned, {b.input for b in bindings(planned)})
    if function != "run":
        calibration = _shared(calibration, inputs)
    trains = marks.LOSS in planned.metadata_props or function != "run"
    if build.target.emulator == "native" and not trains:
        count = enough(count, len(planned.graph), build.plan.macs)
    samples = (drawn(inputs, count) if calibration is None
               else given_samples(inputs, calibration, count))
    if not available(build.target):
        reason = f"no emulator for {build.target.name} on this machine"
        return {"status": "not run", "reason": reason}
    subject = _subject(build, planned, given, function, streaming)
    return check_build(subject, samples, () if trains else special(inputs))


def _subject(build: _Build, planned: ir.Model, given: ir.Model, function: str, streaming: bool
             ) -> Subject:
    axes = sequences(given) if streaming else None
    spreads = any("_winograd" in step.variant for step in build.plan.steps)
    if build.target.emulator != "native":
        run = emulated_run(build.plan, build.target, build.sources, planned, function)
        return Subject(run, planned, given, None, axes, spreads)
    artifact = _artifact(build.plan, build.target, build.sources, build.compiled, {})
    walk = native_walk(artifact) if streaming else None
    return Subject(native_run(artifact, planned, function), planned, given, walk, axes, spreads)


def _shared(calibration: Calibration | None, inputs: Sequence[ir.Value]) -> Calibration | None:
    """What a further function takes of the inputs that were given by name for the first one."""
    if not isinstance(calibration, Mapping) or not all(v.name in calibration for v in inputs):
        return None
    return {str(v.name): calibration[str(v.name)] for v in inputs}


def _artifact(plan: Plan, target: Target, sources: Mapping[str, str], compiled: Compiled,
              figures: Mapping[str, object], section: Section | None = None) -> Artifact:
    files = {n: text.encode() for n, text in sources.items()} | dict(compiled.files)
    manifest: dict[str, object] = {
        "format": MANIFEST_FORMAT, "name": plan.name, "target": target.name,
        "isas": list(plan.isas), "library": compiled.library, "sources": sorted(sources),
        "compiler": compiled.compiler, "flags": list(compiled.flags),
        "arena_bytes": plan.arena_bytes, "state_bytes": plan.state_bytes,
        "const_bytes": plan.const_bytes, "macs": plan.macs, "digest": plan.digest,
        "description": describe(plan),
        **({"entries": {e.name: e.arena_bytes for e in plan.entries}} if plan.entries else {}),
        "choice": _choice(plan, section), "check": dict(figures),
        "files": {n: hashlib.sha256(data).hexdigest() for n, data in sorted(files.items())}}
    files["manifest.json"] = manifest_bytes(manifest)
    return Artifact(plan.name, target.name, files, manifest, plan, compiled.library)


def _choice(plan: Plan, section: Section | None) -> dict[str, object]:
    """What decided between the variants of each kernel, for the manifest."""
    if section is None:
        return {"by": "cost model"}
    taken, refused = section.choices.followed(plan)
    return {"by": "measured", "cpu": section.cpu, "compiler": section.compiler,
            "steps": len(plan.steps), "measured": taken, "not_applicable": refused}
