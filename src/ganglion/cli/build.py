"""`ganglion quantize`, `ganglion compile` and `ganglion targets`."""

from dataclasses import dataclass
from pathlib import Path

from ganglion.artifact.compile import compile as build
from ganglion.cli.data import check_output, read_inputs
from ganglion.cli.show import print_json, print_table, say
from ganglion.cli.source import Source
from ganglion.compression import quantize
from ganglion.errors import DataError
from ganglion.formats import save
from ganglion.toolchain.targets import targets


@dataclass(frozen=True)
class Request:
    """What the user chose for a build."""

    target: str
    cc: str | None
    name: str | None
    batch: int
    calibrate: Path | None
    isas: list[str] | None
    streaming: bool
    hybrid: bool
    tune: bool
    tune_cache: Path | None
    cores: int | None = None


def run_quantize_weights(source: Source, calibrate: Path | None, output: Path, as_json: bool
                         ) -> None:
    """Writes a copy of the network that stores its weights as int8 and computes in float."""
    if calibrate is not None:
        raise DataError("--weights-only keeps the activations float, which nothing is measured "
                        "for: leave --calibrate out, or --weights-only")
    check_output(output, ".onnx")
    save(quantize(source.load(), weights_only=True), output)
    sizes = {"input_bytes": source.path.stat().st_size, "output_bytes": output.stat().st_size}
    if as_json:
        print_json({"output": str(output), "weights_only": True, **sizes})
        return
    say(f"wrote {output}: {sizes['output_bytes']:,} bytes "
        f"({source.path.name}: {sizes['input_bytes']:,} bytes), weights alone as int8")


def run_quantize(source: Source, calibrate: Path | None, output: Path, method: str, rows: int,
                 as_json: bool) -> None:
    """Writes an int8 copy of the network, calibrated on the first `rows` inputs."""
    if calibrate is None:
        raise DataError("the ranges of an int8 network are measured on real inputs: give some "
                        "with --calibrate, or --weights-only to keep its activations float")
    check_output(output, ".onnx")
    model = source.load()
    x = [array[:rows] for array in read_inputs(calibrate, model)]
    save(quantize(model, calibration=x, method=method), output)
    sizes = {"input_bytes": source.path.stat().st_size, "output_bytes": output.stat().st_size}
    if as_json:
        print_json({"output": str(output), "rows": len(x[0]), "method": method, **sizes})
        return
    say(f"wrote {output}: {sizes['output_bytes']:,} bytes "
        f"({source.path.name}: {sizes['input_bytes']:,} bytes), calibrated on {len(x[0]):,} rows")


def run_compile(source: Source, output: Path, chosen: Request, as_json: bool) -> None:
    """Builds the network into the folder `output`."""
    model = source.load()
    calibration = None
    if chosen.calibrate is not None:
        calibration = read_inputs(chosen.calibrate, model)
    artifact = build(model, chosen.target, name=chosen.name, batch=chosen.batch,
                     calibration=calibration, cc=chosen.cc, isas=chosen.isas,
                     streaming=chosen.streaming, hybrid=chosen.hybrid, tune=chosen.tune,
                     tuning_cache=chosen.tune_cache, cores=chosen.cores)
    output.parent.mkdir(parents=True, exist_ok=True)
    artifact.save(output)
    if as_json:
        print_json(dict(artifact.manifest))
        return
    rows = [[name, len(data)] for name, data in sorted(artifact.files.items())]
    print_table(f"{output} for {artifact.target}", ["file", "bytes"], rows)
    figures = artifact.manifest["check"]
    say(f"arena {artifact.arena_bytes:,} bytes   constants {artifact.const_bytes:,} "
        f"bytes   MACs {artifact.plan.macs:,}   check: {spoken(figures)}")
    say(f"kernels chosen by {_chosen(artifact.manifest['choice'])}")


def _chosen(choice: object) -> str:
    if not isinstance(choice, dict) or choice["by"] != "measured":
        return "the cost model"
    aside = (f"; {choice['not_applicable']} measured choices do not run on this target"
             if choice["not_applicable"] else "")
    return (f"measurement in {choice['measured']} of {choice['steps']} steps ({choice['cpu']}), "
            f"by the cost model in the others{aside}")


def spoken(figures: object) -> str:
    """What a manifest says about the check, in words."""
    if not isinstance(figures, dict):
        return "not run"
    if figures["status"] != "passed":
        return f"{figures['status']} ({figures.get('reason', 'no reason given')})"
    if figures["exact"]:
        return f"passed on {figures['samples']} inputs, bit for bit"
    worst = max(figures["outputs"].values(), key=lambda o: o["ratio"])
    return (f"passed on {figures['samples']} inputs, largest difference "
            f"{worst['difference']:.2g} of {worst['tolerance']:.2g} allowed, "
            f"{worst['ratio']:.1g} of the output's size")


def run_targets(as_json: bool) -> None:
    """Prints the target table."""
    found = targets().values()
    if as_json:
        print_json([{"name": t.name, "isas": list(t.isas), "description": t.description,
                     "flash_bytes": t.flash_bytes, "ram_bytes": t.ram_bytes} for t in found])
        return
    print_table("targets", ["name", "instruction sets", "what it is"],
                [[t.name, ", ".join(t.isas), t.description] for t in found])
