"""The command line: parse, call, print, exit code.

Exit codes: 0 done; 2 what the user gave is wrong (network, data, target, arguments); 1 something
failed (compiler, check, or a defect of this program).
"""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ganglion import __version__
from ganglion.cli.federate_app import federate
from ganglion.cli.show import complain, say
from ganglion.errors import GanglionError, ToolchainError, visible

app = typer.Typer(name="ganglion", no_args_is_help=True, add_completion=True,
                  pretty_exceptions_enable=False, rich_markup_mode="rich")

ModelPath = Annotated[Path, typer.Argument(help="a network: .onnx, .keras or .tflite")]
Shape = Annotated[list[str] | None, typer.Option(
    help="sizes of an input that the network leaves open, x=1,224,224,3 (? for one that stays "
         "open); repeat for several")]
Value = Annotated[list[str] | None, typer.Option(
    help="an input that always has one value and becomes a constant, axes=0,1; repeat for several")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]
Threads = Annotated[int | None, typer.Option(min=1, help="for many rows, or inside of one "
                                             "inference")]
Out = Annotated[Path, typer.Option("--output", "-o", help="where to write")]

LossName = Annotated[str, typer.Option(help="auto, or a loss by Keras's name")]
OptimizerName = Annotated[str, typer.Option(help="sgd, rmsprop, adam, adamw, adagrad, adamax or "
                                            "lion")]
LearningRate = Annotated[float | None, typer.Option(min=0, help="the optimiser's own if left out")]
BatchSize = Annotated[int, typer.Option(min=1, help="rows a step")]
TargetName = Annotated[str, typer.Option(help="see `ganglion targets`")]
Compiler = Annotated[str | None, typer.Option(help="another C compiler's command line")]
CName = Annotated[str | None, typer.Option(help="the network's name in C")]
Isas = Annotated[list[str] | None, typer.Option(help="use this instruction set; repeat for "
                                                "several")]
Trainable = Annotated[list[str] | None, typer.Option(
    help="train only this: a pattern of layers' or weights' names, biases, or last:K; repeat for "
         "several")]


def _version(wanted: bool) -> None:
    if wanted:
        say(f"ganglion {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                          help="print the version and exit")] = False,
) -> None:
    """Neural networks as plain C that runs and learns on any device."""


@app.command()
def inspect(
    model: ModelPath,
    plan: Annotated[bool, typer.Option("--plan", help="show the steps of a build for this machine: "
                                       "kernels, buffers, offsets")] = False,
    shape: Shape = None,
    value: Value = None,
    json: Json = False,
) -> None:
    """Show layers, shapes, parameters, MACs and arena bytes."""
    from ganglion.cli.inspect import run, run_plan
    from ganglion.cli.source import Source

    if plan:
        run_plan(Source(model, shape, value))
    else:
        run(Source(model, shape, value), json)


@app.command()
def train(
    model: ModelPath,
    data: Annotated[Path, typer.Option(help=".npz with arrays x and y, or .csv with the target "
                                       "last")],
    output: Out,
    epochs: Annotated[int, typer.Option(min=1, help="passes over the data")] = 1,
    loss: LossName = "auto",
    optimizer: OptimizerName = "adam",
    learning_rate: LearningRate = None,
    batch_size: BatchSize = 32,
    validation_split: Annotated[float, typer.Option(
        min=0, max=0.9, help="the last part of the data, held out")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="of the order of the data and of dropout")] = 0,
    schedule: Annotated[str, typer.Option(
        help="of the learning rate over the run: constant, cosine, linear, exponential, or plateau "
        "(halved when nothing improves for 5 epochs)")] = "constant",
    warmup: Annotated[int, typer.Option(min=0, help="epochs in which the rate rises from 0, for "
                                        "cosine")] = 0,
    weight_decay: Annotated[float | None, typer.Option(
        min=0, help="every step takes this times the rate off each weight")] = None,
    clip_value: Annotated[float | None, typer.Option(help="bound of a gradient's elements")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="bound of a gradient's norm")] = None,
    global_clip_norm: Annotated[float | None, typer.Option(
        help="bound of the norm of all gradients together")] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="steps whose gradients make one update")
                          ] = 1,
    class_weight: Annotated[str | None, typer.Option(
        help="such as 0=1,1=2.5 (1 for other classes), or balanced")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="written after every epoch; a run starts "
                                                    "where it ends")] = None,
    checkpoint_steps: Annotated[int | None, typer.Option(
        min=1, help="write the checkpoint after every so many steps too")] = None,
    log: Annotated[Path | None, typer.Option(help="write the history as .csv")] = None,
    trainable: Trainable = None,
    shape: Shape = None,
    value: Value = None,
    json: Json = False,
) -> None:
    """Train a network in compiled C and write it as .onnx."""
    from ganglion.cli.device import selection
    from ganglion.cli.learning import Learning
    from ganglion.cli.source import Source
    from ganglion.cli.train import Settings, run

    learning = Learning(optimizer, learning_rate, schedule, warmup, weight_decay, clip_value,
                        clip_norm, global_clip_norm, accumulate)
    settings = Settings(epochs, loss, batch_size, validation_split, seed, learning, class_weight,
                        checkpoint, checkpoint_steps, log, selection(trainable))
    run(Source(model, shape, value), data, output, settings, json)


@app.command()
def compile_training(
    model: ModelPath,
    output: Out,
    target: TargetName = "host",
    loss: LossName = "auto",
    optimizer: OptimizerName = "adam",
    learning_rate: LearningRate = None,
    batch_size: BatchSize = 32,
    trainable: Trainable = None,
    memory: Annotated[int | None, typer.Option(min=1, help="bytes that arena and state may take "
                                               "together")] = None,
    data: Annotated[Path | None, typer.Option(help="pairs to check the build on: .npz with x and "
                                              "y, or .csv")] = None,
    name: CName = None,
    cc: Compiler = None,
    isa: Isas = None,
    seed: Annotated[int, typer.Option(min=0, help="of dropout")] = 0,
    sample_weight: Annotated[bool, typer.Option(help="a step takes factors for its rows, and "
                                                "batches that are not full")] = False,
    correction: Annotated[bool, typer.Option(help="what FedProx and SCAFFOLD need")] = False,
    shape: Shape = None,
    value: Value = None,
    json: Json = False,
) -> None:
    """Turn the training of a network into C: step, evaluate, predict, for a device that learns."""
    from ganglion.cli.device import Request, run
    from ganglion.cli.source import Source

    run(Source(model, shape, value), output,
        Request(target, loss, optimizer, learning_rate, batch_size, trainable, memory, data, name,
                cc, isa, seed, sample_weight, correction), json)


@app.command()
def evaluate(
    model: ModelPath,
    data: Annotated[Path, typer.Option(help=".npz (x_test and y_test if there, else x and y), or "
                                       ".csv")],
    shape: Shape = None,
    value: Value = None,
    json: Json = False,
) -> None:
    """Measure a network on data: accuracy, precision, recall, F1, or MAE, MSE, RMSE."""
    from ganglion.cli.source import Source
    from ganglion.cli.train import run_evaluate

    run_evaluate(Source(model, shape, value), data, json)


@app.command()
def quantize(
    model: ModelPath,
    output: Out,
    calibrate: Annotated[Path | None, typer.Option(help="real inputs: .npz with x, .npy or .csv")
                         ] = None,
    method: Annotated[str, typer.Option(help="minmax, percentile or mse")] = "minmax",
    rows: Annotated[int, typer.Option(min=1, help="how many inputs to calibrate on")] = 200,
    weights_only: Annotated[bool, typer.Option("--weights-only", help="store the weights as int8, "
                                               "compute in float; needs no inputs")] = False,
    shape: Shape = None,
    value: Value = None,
    json: Json = False,
) -> None:
    """Make a network int8, calibrated on real inputs, or its weights alone."""
    from ganglion.cli.build import run_quantize, run_quantize_weights
    from ganglion.cli.source import Source

    if weights_only:
        run_quantize_weights(Source(model, shape, value), calibrate, output, json)
    else:
        run_quantize(Source(model, shape, value), calibrate, output, method, rows, json)


@app.command()
def compile(
    model: ModelPath,
    output: Out,
    target: TargetName = "host",
    cc: Compiler = None,
    name: CName = None,
    batch: Annotated[int, typer.Option(min=1, help="rows a call")] = 1,
    calibrate: Annotated[Path | None, typer.Option(help="real inputs to check the build on")
                         ] = None,
    isa: Isas = None,
    streaming: Annotated[bool, typer.Option("--streaming", help="one time step a call, state "
                                            "kept")] = False,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="take products with weights stored as "
                                         "int8 in int8, floats quantised on the fly")] = False,
    tune: Annotated[bool, typer.Option("--tune", help="measure the kernels' variants on this "
                                       "machine; keep what is found")] = False,
    tune_cache: Annotated[Path | None, typer.Option(help="the file of measured choices: written "
                                                    "with --tune, followed without")] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="divide large steps for so many cores; "
                                              "the target's by default")] = None,
    shape: Shape = None,
    value: Value = None,
    json: Json = False,
) -> None:
    """Turn a network into C and a checked library for a target."""
    from ganglion.cli.build import Request, run_compile
    from ganglion.cli.source import Source

    run_compile(Source(model, shape, value), output,
                Request(target, cc, name, batch, calibrate, isa, streaming, hybrid, tune,
                        tune_cache, cores), json)


@app.command()
def export(
    model: ModelPath,
    output: Out,
    batch: Annotated[int, typer.Option(min=1, help="rows a call")] = 1,
    hybrid: Annotated[bool, typer.Option("--hybrid", help="keep int8 weights of float layers "
                                         "int8")] = False,
    check: Annotated[str | None, typer.Option(help="edgetpu: tell what an Edge TPU would run")
                     ] = None,
    shape: Shape = None,
    value: Value = None,
    json: Json = False,
) -> None:
    """Write a network as .tflite, for LiteRT."""
    from ganglion.cli.export import run as run_export
    from ganglion.cli.source import Source

    run_export(Source(model, shape, value), output, batch, hybrid, check, json)


@app.command()
def targets(json: Json = False) -> None:
    """List what networks can be compiled for."""
    from ganglion.cli.build import run_targets

    run_targets(json)


@app.command()
def operators(json: Json = False) -> None:
    """List the operators that networks may be made of."""
    from ganglion.cli.operators import run

    run(json)


@app.command()
def run(
    build: Annotated[Path, typer.Argument(help="a folder that `compile` wrote")],
    inputs: Annotated[list[Path], typer.Argument(help=".npy, .npz, .csv or an image, one for each "
                                                      "input")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write .npy, or .npz for "
                                                "several outputs")] = None,
    scale: Annotated[float, typer.Option(help="multiply an image's pixels, 0 to 255, by this")
                     ] = 1.0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Run a built network on an input; rows are steps for one built with --streaming."""
    from ganglion.cli.run import run as run_network

    run_network(build, inputs, output, scale, threads, json)


app.add_typer(federate, name="federate")


@app.command()
def bench(
    build: Annotated[Path, typer.Argument(help="a folder that `compile` wrote")],
    seconds: Annotated[float, typer.Option(min=0.1, help="how long to measure")] = 2.0,
    threads: Threads = None,
    emulate: Annotated[bool, typer.Option("--emulate", help="count instructions on the emulated "
                                          "board of a microcontroller")] = False,
    json: Json = False,
) -> None:
    """Measure latency, arena, flash and the overhead of a call."""
    from ganglion.cli.bench import run as run_bench
    from ganglion.cli.bench import run_emulated

    if emulate:
        run_emulated(build, json)
    else:
        run_bench(build, seconds, threads, json)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="folder for builds and report")
                      ] = Path("ganglion-demo"),
    epochs: Annotated[int, typer.Option(min=1, help="passes over the data")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="of weights, data order and dropout")] = 0,
    json: Json = False,
) -> None:
    """Digits from pixels to a Raspberry Pi: train, prune, quantise, compile, check, time."""
    from ganglion.cli.demo import run as run_demo

    run_demo(output, epochs, seed, json)


def main() -> None:
    """Entry point; the one place that catches everything."""
    sys.exit(call(sys.argv[1:]))


def call(arguments: list[str]) -> int:
    """Runs a command line; the exit code."""
    try:
        code = app(arguments, prog_name="ganglion", standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except REFUSED as error:
        return _refused(error)
    except GanglionError as error:
        complain(type(error).__name__, str(error))
        return 1 if isinstance(error, ToolchainError) else 2
    except OSError as error:
        complain("the system refused", f"{error}; nothing was left half written")
        return 1
    except Exception as error:  # noqa: BLE001 the one place that may: it ends here, with code 1
        complain("a defect of ganglion", f"{type(error).__name__}. Please report it with the lines "
                                         f"below\n{traceback.format_exc()}")
        return 1
    return code if isinstance(code, int) else 0


REFUSED = cast(type[Exception], typer.BadParameter.__mro__[2])
"""What the parser of command lines raises: click's ClickException, wherever typer keeps it."""


def _refused(error: Any) -> int:
    """Says what is wrong with a command line, as typer says it but for what a terminal obeys."""
    from typer.rich_utils import rich_format_error

    error.message = visible(error.message, kept="")
    rich_format_error(error)
    return int(error.exit_code)
