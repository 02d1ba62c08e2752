"""The errors a user can meet. A class names who must act; a message says what to try next."""


class GanglionError(Exception):
    """Base of every error that this package raises on purpose.

    `code` is stable and machine-readable: programs match on it, people read the message.
    """

    code = "error"


class ModelError(GanglionError):
    """The given network is wrong: malformed file, inconsistent shapes, NaN in weights."""

    code = "model"


class UnsupportedOp(ModelError):
    """An operator, attribute or layer that this project cannot handle (yet)."""

    code = "unsupported-op"


class DataError(GanglionError):
    """The given arrays are wrong: shape, dtype, NaN, labels out of range, mismatched lengths."""

    code = "data"


class TargetError(GanglionError):
    """The chosen device cannot do this: unknown target, too little flash or RAM."""

    code = "target"


class ToolchainError(GanglionError):
    """A compiler or an emulator failed; the message holds the command and its output."""

    code = "toolchain"


class CheckError(ToolchainError):
    """A build answers differently from the reference: a defect of this project or its compiler."""

    code = "check"


class TrustError(GanglionError):
    """A file tried something that no honest file needs: path traversal, zip bomb, pickled code."""

    code = "trust"
