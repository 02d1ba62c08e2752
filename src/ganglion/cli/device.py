"""`ganglion compile-training`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ganglion.artifact.footprint import footprint
from ganglion.cli.build import spoken
from ganglion.cli.data import read_pairs
from ganglion.cli.show import print_json, print_table, say
from ganglion.cli.source import Source
from ganglion.cli.train import guess_losses, with_rate
from ganglion.errors import DataError
from ganglion.training import last
from ganglion.training.device import compile_training
from ganglion.training.step.selection import Selection, Selector


@dataclass(frozen=True)
class Request:
    """What the user chose for a build that trains."""

    target: str
    loss: str
    optimizer: str
    learning_rate: float | None
    batch_size: int
    trainable: list[str] | None
    memory_bytes: int | None
    data: Path | None
    name: str | None
    cc: str | None
    isas: list[str] | None
    seed: int
    sample_weight: bool
    correction: bool


def run(source: Source, output: Path, chosen: Request, as_json: bool) -> None:
    """Builds what trains the network into the folder `output`; prints what it takes."""
    model = source.load()
    pairs = None if chosen.data is None else read_pairs(chosen.data, model)
    losses = [chosen.loss]
    if chosen.loss == "auto":
        losses = guess_losses(model, None if pairs is None else pairs.y)
    artifact = compile_training(
        model, chosen.target, loss=losses[0] if len(losses) == 1 else losses,
        optimizer=with_rate(chosen.optimizer, chosen.learning_rate), batch_size=chosen.batch_size,
        trainable=selection(chosen.trainable), memory_bytes=chosen.memory_bytes, seed=chosen.seed,
        calibration=None if pairs is None else (pairs.x, pairs.y), name=chosen.name, cc=chosen.cc,
        isas=chosen.isas, sample_weight=chosen.sample_weight, correction=chosen.correction)
    artifact.save(output)
    taken = footprint(artifact)
    if as_json:
        print_json({**artifact.manifest, "loss": " ".join(losses),
                    "footprint": {**asdict(taken), "ram_bytes": taken.ram_bytes}})
        return
    flash = [] if taken.flash_bytes is None else [["flash: code and constants",
                                                   f"{taken.flash_bytes:,}"]]
    print_table(f"{output} for {artifact.target}, trained with {', '.join(losses)}",
                ["memory", "bytes"],
                [["RAM: arena", f"{taken.arena_bytes:,}"],
                 ["RAM: state (trained weights, optimiser)", f"{taken.state_bytes:,}"],
                 ["RAM: stack", f"{taken.stack_bytes:,}"],
                 ["RAM: together", f"{taken.ram_bytes:,}"], *flash])
    say(f"a step: {artifact.plan.macs:,} MACs   check: {spoken(artifact.manifest['check'])}")


def selection(given: Sequence[str] | None) -> Selection:
    """`--trainable` as `fit` takes it: patterns, "biases", and "last:2" for `last(2)`."""
    return [_selector(text) for text in given] if given else None


def _selector(text: str) -> Selector:
    word, colon, count = text.partition(":")
    if word != "last" or not colon:
        return text
    if not count.isdecimal():
        raise DataError(f"--trainable {text!r}: expected a number of blocks, as in last:2")
    return last(int(count))
