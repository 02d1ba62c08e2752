"""The demo's report: one HTML page with the table and a plot of the training."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from ganglion.artifact import Artifact
from ganglion.cli.build import spoken
from ganglion.cli.show import plain
from ganglion.files import write_atomic

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:52em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse}
td,th{padding:.3em .8em;border-bottom:1px solid #ccc;text-align:right}
td:first-child,th:first-child{text-align:left}img{max-width:100%}"""


@dataclass(frozen=True)
class Form:
    """One form of the network: what it is called, the Model, its build, its figures."""

    name: str
    model: ir.Model
    artifact: Artifact
    figures: Mapping[str, float]


def write_report(folder: Path, forms: Sequence[Form], pi: Artifact,
                 history: Mapping[str, Sequence[float]]) -> Path:
    """Writes `report.html`; returns its path."""
    head = ("network", "accuracy", "file bytes", "constants bytes", "arena bytes", "MACs",
            "median µs", "p99 µs")
    rows = [(f.name, f"{f.figures['accuracy']:.2%}", f"{f.artifact.library_bytes:,}",
             f"{f.artifact.const_bytes:,}", f"{f.artifact.arena_bytes:,}",
             f"{f.artifact.plan.macs:,}", f"{f.figures['median_us']:.1f}",
             f"{f.figures['p99_us']:.1f}") for f in forms]
    figures = pi.manifest["check"]
    status = spoken(figures)
    page = f"""<!doctype html><meta charset="utf-8"><title>Handwritten digits</title>
<style>{STYLE}</style><h1>Handwritten digits</h1>
<p>A small convolutional network, trained, pruned and quantised; every build was checked against
the reference. Accuracy on held-out digits, latency of one call from Python on this machine.</p>
{_table(head, rows)}
<h2>Training</h2><img alt="loss and accuracy over the epochs" src="{_plot(history)}">
<h2>Raspberry Pi 4</h2><p>Library of {pi.library_bytes:,} bytes, arena {pi.arena_bytes:,} bytes,
check under emulation: {html.escape(str(status))}.</p>
"""
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(plain(c))}</{tag}>" for c in cells) + "</tr>"

    return "<table>" + line(head, "th") + "".join(line(r, "td") for r in rows) + "</table>"


def _plot(history: Mapping[str, Sequence[float]]) -> str:
    """Losses and accuracies over the epochs, as a data URL."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, values in history.items():
        axes = left if "loss" in name else right
        axes.plot(range(1, len(values) + 1), values, label=plain(name).replace("$", r"\$"))
    for axes, title in ((left, "loss"), (right, "accuracy")):
        axes.set_xlabel("epoch")
        axes.set_title(title)
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
