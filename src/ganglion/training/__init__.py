"""Learning: differentiation, losses, optimisers and the fit loop."""

from ganglion.training import callbacks, losses, optimizers
from ganglion.training.callbacks import Callback, EarlyStopping, History, StopAtLoss
from ganglion.training.distill import distill
from ganglion.training.evaluate import evaluate
from ganglion.training.fit import fit
from ganglion.training.step.selection import biases, last

__all__ = ["Callback", "EarlyStopping", "History", "StopAtLoss", "biases", "callbacks", "distill",
           "evaluate", "fit", "last", "losses", "optimizers"]
