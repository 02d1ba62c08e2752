"""Loading and calling what was built. Needs NumPy alone."""

from ganglion.runtime.binding import BINDING
from ganglion.runtime.ports import Description, Function, Port, StateTensor
from ganglion.runtime.session import Session
from ganglion.runtime.stream import Stream
from ganglion.runtime.trainer import Trainer

__all__ = ["BINDING", "Description", "Function", "Port", "Session", "StateTensor", "Stream",
           "Trainer"]
