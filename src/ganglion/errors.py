"""The errors a user can meet. A class names who must act; a message says what to try next."""

from collections.abc import Mapping


def visible(text: str, kept: str = "\n\t") -> str:
    r"""`text` with all that a terminal would obey, or would not show, written out as Python does:
    control and format characters (escape sequences, the direction of writing), separators of lines,
    halves of surrogate pairs. `kept`: those that pass.

    >>> visible("a\x1b]0;title\x07")
    'a\\x1b]0;title\\x07'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode()
                   for c in text)


class GanglionError(Exception):
    """Base of every error that this package raises on purpose.

    `code` is stable and machine-readable: programs match on it, people read the message, in which
    names of a file cannot steer a terminal.
    """

    code = "error"

    def __str__(self) -> str:
        return visible(super().__str__())


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


def spoken_counts(wanted: Mapping[str, int], what: str) -> str:
    """`A (2 nodes) and B (1 node) are`, for operators that a file wants and that are not read."""
    parts = [f"{name} ({count} {what}{'s' * (count > 1)})" for name, count in wanted.items()]
    text = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    return f"{text} {'are' if len(parts) > 1 else 'is'}"
