"""How devices whose data differ learn one network: what each method does on the device.

`correction` of the training artefact (`training.step.correction`) carries the gradient work.
"""

from dataclasses import dataclass

from ganglion.errors import DataError


@dataclass(frozen=True)
class Method:
    """FedAvg (McMahan et al., 2017): the mean of what devices learned, weighted by their rows.

    `proximal`: how strongly a device's weights are drawn to where they started. `controlled`:
    whether control variates correct the steps. `normalised`: whether answers count by step.
    """

    @property
    def proximal(self) -> float:
        return 0.0

    @property
    def controlled(self) -> bool:
        return False

    @property
    def normalised(self) -> bool:
        return False

    @property
    def corrects(self) -> bool:
        """Whether it needs a build with correction=True."""
        return self.controlled or self.proximal > 0


@dataclass(frozen=True)
class FedAvg(Method):
    """The plain mean."""


@dataclass(frozen=True)
class FedProx(Method):
    """A device minimises its loss + mu/2·|w - w_start|² (Li et al., 2020)."""

    mu: float = 0.01

    def __post_init__(self) -> None:
        if not isinstance(self.mu, int | float) or not 0 < self.mu < float("inf"):
            raise DataError(f"FedProx(mu={self.mu!r}): expected a finite number above 0")

    @property
    def proximal(self) -> float:
        return float(self.mu)


@dataclass(frozen=True)
class Scaffold(Method):
    """Every step is corrected by c - c_i, where c_i is the device's usual gradient and c that of
    all (Karimireddy et al., 2020, option II)."""

    @property
    def controlled(self) -> bool:
        return True


@dataclass(frozen=True)
class FedNova(Method):
    """A device that made more steps does not weigh more for it: differences count by step, and
    the mean moves by the mean number of steps (Wang et al., 2020)."""

    @property
    def normalised(self) -> bool:
        return True
