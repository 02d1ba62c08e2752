"""Running a build for its check: in this process, or as a process under an emulator."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.artifact.artifact import Artifact
from ganglion.artifact.check import Run, Walk
from ganglion.emit.c import describe
from ganglion.ops.bindings import bindings
from ganglion.plan.types import Plan
from ganglion.toolchain.emulators import emulate
from ganglion.toolchain.targets import Target


def native_run(artifact: Artifact, model: ir.Model, function: str = "run") -> Run:
    """Calls the library in this process; for a network with state, one call from its first state,
    whose new state is compared under the names of the bound outputs."""
    session = artifact.session()
    described = session.function(function)
    inputs = [p.name for p in described.inputs]
    outputs = [p.name for p in described.outputs]
    bound = bindings(model)

    def run(sample: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = [sample[name] for name in inputs]
        if not session.state_bytes:
            found = session.run(*arrays)
            return dict(zip(outputs, found if isinstance(found, tuple) else (found,)))
        stream = session.stream()
        found = stream.call(function, *arrays)
        answers = dict(zip(outputs, found if isinstance(found, tuple) else (found,)))
        return answers | {b.output: stream.get(b.input) for b in bound}

    return run


def native_walk(artifact: Artifact) -> Walk:
    """Calls the library once for each set of inputs, on one stream."""
    session = artifact.session()
    inputs = [p.name for p in session.inputs]
    outputs = [p.name for p in session.outputs]

    def walk(rows: Sequence[Mapping[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        stream = session.stream()
        made = []
        for row in rows:
            found = stream.run(*(row[name] for name in inputs))
            made.append(dict(zip(outputs, found if isinstance(found, tuple) else (found,))))
        return made

    return walk


def emulated_run(plan: Plan, target: Target, sources: Mapping[str, str], model: ir.Model,
                 function: str = "run") -> Run:
    """Runs the generated C as a process for another machine, a process for each sample; the state
    is compared as in `native_run`."""
    network = emulate(sources, target, describe(plan), function=function)
    entry = next((e for e in plan.entries if e.name == function), plan)
    names = [p.name for p in entry.inputs]
    bound = bindings(model)

    def run(sample: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found, state = network.run_with_state([sample[n] for n in names])
        answers = dict(zip((p.name for p in entry.outputs), found))
        return answers | {b.output: state[b.input] for b in bound}

    return run
