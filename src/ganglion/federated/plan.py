"""What a run is: the artefact that learns, how often, who takes part, and what is sent."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from ganglion.artifact import Artifact
from ganglion.errors import DataError
from ganglion.federated.device.codecs import Codec, Dense
from ganglion.federated.device.messages import RUN_BYTES
from ganglion.federated.device.methods import FedAvg, Method
from ganglion.federated.device.worker import Settings, require_fit
from ganglion.federated.rules import Mean, Rule
from ganglion.runtime import StateTensor, Trainer

KINDS: Sequence[tuple[str, type, str]] = (
    ("method", Method, "Scaffold()"), ("rule", Rule, "Median()"),
    ("up", Codec, "Stochastic(bits=3)"), ("down", Codec, "TopK(0.1)"))
"""Settings that are objects, what they must be, and an example."""


@dataclass(frozen=True)
class Plan:
    """A run of learning together.

    `step`: what `compile_training` built, or the folder that it was saved in. `rounds`;
    `clients_per_round`: how many devices learn in each (None: all); `local_epochs`: how often each
    goes through its rows; `learning_rate` of the devices (None: the artefact's own);
    `server_learning_rate`: how far the model follows their mean. `method`: FedAvg, FedProx,
    Scaffold, FedNova; `rule`: how answers become one. `up`, `down`: the codecs of answers and of
    tasks. `personal`: patterns of weights that stay on each device, such as "head*", or
    "statistics" for those of normalisations. `most_norm`: an answer that moves the weights further
    than so many times the round's median is refused (None: none is). `seed`: of all that is
    drawn.
    Raises DataError for settings that make no sense, for a method that the artefact lacks, and for
    patterns that no weight or every weight has.
    """

    step: Artifact | str | Path = field(repr=False)
    rounds: int = 50
    clients_per_round: int | None = None
    local_epochs: int = 1
    learning_rate: float | None = None
    server_learning_rate: float = 1.0
    method: Method = field(default_factory=FedAvg)
    rule: Rule = field(default_factory=Mean)
    up: Codec = field(default_factory=Dense)
    down: Codec = field(default_factory=Dense)
    personal: Sequence[str] = ()
    most_norm: float | None = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("local_epochs", 1), ("seed", 0),
                            ("clients_per_round", 1)):
            value = getattr(self, name)
            if value is None and name == "clients_per_round":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise DataError(f"{name}={value!r}: expected a whole number from {least} up")
        for name in ("learning_rate", "server_learning_rate", "most_norm"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float)
                                          and 0 < value < float("inf")):
                raise DataError(f"{name}={value!r}: expected a finite number above 0")
        for name, kind, example in KINDS:
            if not isinstance(getattr(self, name), kind):
                raise DataError(f"{name}={getattr(self, name)!r}: expected one of "
                                f"ganglion.federated's, such as {example}")
        require_fit(self.settings, self.trainer)

    @cached_property
    def trainer(self) -> Trainer:
        """A trainer of the artefact as it was built, which nobody lets learn: `another()` does."""
        return self.step.trainer() if isinstance(self.step, Artifact) else Trainer(self.step)

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """The names of the weights that are learned together."""
        weights = [t for t in self.trainer.state if t.weight]
        patterns = [self.personal] if isinstance(self.personal, str) else list(self.personal)
        for pattern in patterns:
            if not any(_stays(t, pattern) for t in weights):
                raise DataError(f"personal={pattern!r}: no weight has that name; there are "
                                f"{', '.join(t.name for t in weights)}")
        shared = tuple(t.name for t in weights if not any(_stays(t, p) for p in patterns))
        if not shared:
            raise DataError(f"personal={patterns}: every weight stays on its device, nothing is "
                            "left to learn together")
        return shared

    @cached_property
    def settings(self) -> Settings:
        """What every device of the run gets to know."""
        rate = self.trainer.learning_rate if self.learning_rate is None else self.learning_rate
        return Settings(self.digest[:RUN_BYTES], self.trainer.digest, self.shared, self.method,
                        self.up, self.down, self.local_epochs, rate, self.seed)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of all settings and of the artefact."""
        text = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name != "step"]
        return hashlib.sha256("\n".join([self.trainer.digest, *text]).encode()).digest()


def _stays(tensor: StateTensor, pattern: str) -> bool:
    return tensor.statistic if pattern == "statistics" else fnmatchcase(tensor.name, pattern)

