"""What the commands print: tables for people, JSON for programs.

Nothing else prints. What comes from files, names and paths alike, is shown as it is where a
terminal would show it, and written out where a terminal would obey it.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ganglion.errors import visible

console = Console(emoji=False)
errors = Console(stderr=True, emoji=False)


def plain(text: object) -> str:
    """One line that no terminal obeys, whatever is in `text`."""
    return visible(str(text), kept="")


def print_json(answer: Mapping[str, object] | Sequence[object]) -> None:
    """The answer as one JSON document on standard output; what is not finite becomes null."""
    text = json.dumps(_finite(answer), allow_nan=False, indent=2).replace("\x7f", "\\u007f")
    if sys.stdout.isatty():
        console.print(JSONHighlighter()(Text(text)), soft_wrap=True)
    else:
        sys.stdout.write(text + "\n")


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def say(text: str) -> None:
    """A line of plain text, never broken to fit a width: paths can be copied."""
    console.print(Text(plain(text)), soft_wrap=True)


def complain(what: str, text: str) -> None:
    """One paragraph on standard error, whose further lines are indented: none looks like ours."""
    shown = visible(text).replace("\n", "\n  ")
    errors.print(Text.assemble((plain(what), "bold red"), ": ", shown), soft_wrap=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table; columns whose cells are numbers are set to the right."""
    table = Table(title=Text(plain(title), "table.title"), title_justify="left")
    for i, column in enumerate(columns):
        numeric = all(isinstance(r[i], int | float) or str(r[i])[:1].isdigit() for r in rows)
        table.add_column(Text(plain(column)), justify="right" if numeric and rows else "left",
                         overflow="fold")
    for row in rows:
        table.add_row(*[f"{c:,}" if isinstance(c, int) else Text(plain(c)) for c in row])
    console.print(table)


def progress() -> Progress:
    """A bar with a count and the time spent, on standard error."""
    return Progress(TextColumn("{task.description}", markup=False), BarColumn(),
                    MofNCompleteColumn(), TimeElapsedColumn(),
                    TextColumn("{task.fields[note]}", markup=False), console=errors)
