"""Loading and calling what was built. Needs NumPy alone."""

from ganglion.runtime.binding import BINDING
from ganglion.runtime.ports import Description, Port, StateTensor
from ganglion.runtime.session import Session
from ganglion.runtime.stream import Stream

__all__ = ["BINDING", "Description", "Port", "Session", "StateTensor", "Stream"]
