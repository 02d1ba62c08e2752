"""PyTorch's own losses and optimizers in our words, where they mean the same. torch is not
imported: everything is read from the objects' attributes.
"""

from collections.abc import Callable, Mapping, Sequence

from ganglion.errors import DataError
from ganglion.training import losses
from ganglion.training.optimizers import SGD

PLAIN: Mapping[str, object] = {
    "reduction": "mean", "weight": None, "pos_weight": None, "label_smoothing": 0.0,
    "ignore_index": -100, "beta": 1.0, "weight_decay": 0, "dampening": 0, "maximize": False}
"""Settings that we have not, and the values at which they change nothing."""

LOSSES: Mapping[str, Callable[[float], losses.Loss]] = {
    "MSELoss": lambda _: losses.MeanSquaredError(),
    "L1Loss": lambda _: losses.MeanAbsoluteError(),
    "SmoothL1Loss": lambda _: losses.Huber(),
    "HuberLoss": losses.Huber,
    "CrossEntropyLoss": lambda _: losses.SparseCategoricalCrossentropy(from_logits=True),
    "BCEWithLogitsLoss": lambda _: losses.BinaryCrossentropy(from_logits=True),
}
"""torch.nn's class -> from its delta our loss with the same values and gradients."""


def read_loss(given: object, ranks: Sequence[int]) -> object:
    """Ours for a loss of torch.nn, for each in a list or a dict; anything else as it is.

    `ranks`: the numbers of axes of the network's outputs. Raises DataError for a loss or a setting
    without a counterpart, and for CrossEntropyLoss where classes are not the last axis.
    """
    if isinstance(given, Mapping):
        return {key: read_loss(each, ranks) for key, each in given.items()}
    if isinstance(given, list | tuple):
        return [read_loss(each, ranks) for each in given]
    name = type(given).__name__
    if type(given).__module__ != "torch.nn.modules.loss":
        return given
    if name not in LOSSES:
        raise DataError(f"PyTorch's loss {name} has no counterpart; there are {', '.join(LOSSES)} "
                        "and those of ganglion.losses")
    _require_plain(name, vars(given) | {key: getattr(given, key, None)
                                        for key in ("weight", "pos_weight")})
    if name == "CrossEntropyLoss" and any(rank != 2 for rank in ranks):
        raise DataError("PyTorch's CrossEntropyLoss has the classes on the second axis, fit on the "
                        "last: it serves outputs [N, classes] alone. Move the axis in forward, and "
                        "give ganglion.losses.SparseCategoricalCrossentropy(from_logits=True)")
    return LOSSES[name](getattr(given, "delta", 1.0))


def read_optimizer(given: object, learning: Sequence[object]) -> object:
    """Ours for an SGD of torch.optim over all of `learning`, the parameters that may learn;
    anything else as it is. Raises DataError for what has no counterpart."""
    name = type(given).__name__
    groups = getattr(given, "param_groups", None)
    if not type(given).__module__.startswith("torch.optim") or groups is None:
        return given
    if name != "SGD":
        raise DataError(f"PyTorch's {name} has no exact counterpart: give one of "
                        "ganglion.optimizers, whose formulas are Keras's, or SGD")
    if len(groups) != 1 or {id(p) for p in groups[0]["params"]} < {id(p) for p in learning}:
        raise DataError(f"PyTorch's SGD has {len(groups)} groups of parameters; expected one with "
                        "all parameters of the module: set requires_grad=False on those that shall "
                        "not learn, or give fit trainable=")
    group = groups[0]
    _require_plain(name, group)
    return SGD(float(group["lr"]), momentum=float(group["momentum"]),
               nesterov=bool(group["nesterov"]))


def _require_plain(name: str, found: Mapping[str, object]) -> None:
    for key, plain in PLAIN.items():
        if found.get(key, plain) != plain:
            raise DataError(f"PyTorch's {name}({key}={found[key]!r}) has no counterpart here; "
                            f"expected {key}={plain!r}")
