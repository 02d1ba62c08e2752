"""Measurements as markdown, JSON and a plot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Figures = Mapping[str, Any]
OURS = "ganglion"
SUSPICIOUS = 0.05
"""Of the largest output: a difference beyond is no rounding."""


def one_line(row: Figures) -> str:
    """A network's result while the benchmark goes on."""
    if "skipped" in row:
        return f"{row['name']}: skipped, {row['skipped']}"
    times = ", ".join(f"{n} {us:.2f}" for n, us in row["us"].items())
    return f"{row['name']}: {times} µs; ratio {cell(row['ratio'])}"


def write_inference(found: Figures, folder: Path) -> None:
    """inference.json, inference.md and inference.png."""
    _write(found, inference(found), folder, "inference")


def write_training(found: Figures, folder: Path) -> None:
    """training.json, training.md and training.png."""
    _write(found, training(found), folder, "training")


def _write(found: Figures, text: str, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"{name}.md").write_text(text)
    rows = [r for r in found["networks"] if "us" in r]
    plot(rows, [n for n, v in found["runtimes"].items() if v], folder / f"{name}.png")


def inference(found: Figures) -> str:
    """All tables of an inference run."""
    names = list(found["runtimes"])
    done = [r for r in found["networks"] if "us" in r]
    parts = [heading(found), peaks(found["peaks"]), "### Time\n",
             table(["network", "MACs", *(f"{n} µs" for n in names), "ratio to best peer",
                    "share of bound"],
                   [[r["name"], f"{r['macs']:,}", *(cell(r["us"].get(n)) for n in names),
                     cell(r["ratio"]), f"{r['bound_share']:.0%}"] for r in done]),
             skipped(found), "### Answers and sizes\n",
             table(["network", "largest difference to a peer", "largest output",
                    *(f"{n} KB" for n in names), "arena KB", "compile s"],
                   [[r["name"], differences(r), f"{r['largest_output']:.3g}",
                     *(kilobytes(r["file_bytes"].get(n)) for n in names),
                     kilobytes(r["arena_bytes"]), f"{r['compile_seconds']:.1f}"] for r in done])]
    if any(r["probe"] for r in done):
        parts += ["### Start-up and memory\n\nMilliseconds from a file to a network that can be "
                  "called, and MB of resident memory beyond a process with NumPy after the first "
                  "call, the runtime's import included; each in a process of its own.\n",
                  table(["network", *(f"{n} ms" for n in names), *(f"{n} MB" for n in names)],
                        [[r["name"], *(probed(r, n, "start_ms", 1) for n in names),
                          *(probed(r, n, "resident_bytes", 1e6) for n in names)] for r in done])]
    parts += ["### What dominates\n",
              table(["network", "bound µs", "kinds of step, share of our time"],
                    [[r["name"], cell(r["bound_us"]), r["dominant"]] for r in done])]
    if found["growth"]:
        parts += ["### How cost grows\n\nA CNN of 4 convolutions 3x3 of 16 channels on 16x16x4, "
                  "one of its dimensions doubled in turn.\n", growth(found["growth"], names)]
    return "\n".join(parts)


def training(found: Figures) -> str:
    """The table of a training run."""
    names = list(found["runtimes"])
    done = [r for r in found["networks"] if "us" in r]
    parts = [heading(found), "### Microseconds a step\n",
             table(["network", "forward MACs", *(f"{n} µs" for n in names), "ratio to best peer",
                    "samples a second", "share of bound"],
                   [[r["name"], f"{r['macs']:,}", *(cell(r["us"].get(n)) for n in names),
                     cell(r["ratio"]), f"{r['samples_a_second']:,.0f}", f"{r['bound_share']:.0%}"]
                    for r in done]), skipped(found)]
    if found["learning"]:
        parts += ["### Seconds to 98.5 % on MNIST's test set\n\nconv16-conv32-64-10, batch 32, "
                  "Adam, judged after every quarter of an epoch while the clock stands. Start: "
                  "compiling or tracing before the first step, part of the seconds. Installed: "
                  "the library and what it requires.\n",
                  table(["trainer", "seconds", "of which start", "epochs", "peak MB",
                         "installed MB"], [_learned(r) for r in found["learning"]])]
    return "\n".join(parts)


def _learned(row: Figures) -> list[str]:
    return [row["name"], cell(row["seconds"]), cell(row["start_seconds"]),
            f"{len(row['points']) / 4:.2f}", f"{row['peak_bytes'] / 1e6:.0f}",
            f"{row['installed_bytes'] / 1e6:.0f}"]


def heading(found: Figures) -> str:
    """The machine, the date, the versions, and how busy the machine was."""
    versions = ", ".join(f"{n} {v}" if v else f"{n} (not installed)"
                         for n, v in found["runtimes"].items())
    return (f"{found['machine']}, one core, {found['date']}; load {found['load_before']:.1f} "
            f"before, {found['load_after']:.1f} after (1 is this benchmark alone).\n\n"
            f"{versions}.\n")


def peaks(found: Figures) -> str:
    """The measured limits, in words."""
    reads = ", ".join(f"{size(int(n))} {gb:.0f}" for n, gb in found["read_gb_s"].items())
    return (f"Peaks of this core in the same run: {found['float_gmacs']:.0f} GMAC/s float, "
            f"{found['int8_gmacs']:.0f} GMAC/s int8; reading, GB/s by block size: {reads}.\n")


def skipped(found: Figures) -> str:
    """What was left out, one line each."""
    lines = [f"- {r['name']}: not measured, {r['skipped']}" for r in found["networks"]
             if "skipped" in r]
    lines += [f"- {r['name']}: {n} left out, {why}" for r in found["networks"]
              for n, why in r.get("refused", {}).items() if not why.startswith("no .")]
    lines += [f"- {r['name']}: {n}'s answer differs from ours by {d:.2g}: see the next "
              "table" for r in found["networks"]
              for n, d in r.get("difference", {}).items() if d > SUSPICIOUS * r["largest_output"]]
    return "\n".join([*lines, ""])


def growth(rows: Sequence[Figures], names: Sequence[str]) -> str:
    """Time against multiply-adds."""
    kept = [n for n in names if any(n in r["us"] for r in rows)]
    return table(["doubled", "value", "MACs", *(f"{n} µs" for n in kept), "our GMAC/s"],
                 [[r["dimension"], str(r["value"]), f"{r['macs']:,}",
                   *(cell(r["us"].get(n)) for n in kept),
                   f"{r['macs'] / r['us'][OURS] / 1e3:.1f}"] for r in rows])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table, numbers to the right.

    >>> print(table(["a", "b"], [["x", "1"]]))
    | a | b |
    |---|--:|
    | x | 1 |
    <BLANKLINE>
    """
    lines = ["|---|" + "--:|" * (len(head) - 1)]
    lines = [_line(head), *lines, *(_line(row) for row in rows)]
    return "\n".join([*lines, ""])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def cell(value: float | None) -> str:
    """Three significant figures, or a dash.

    >>> cell(1234.5), cell(12.345), cell(0.1234), cell(None)
    ('1234', '12.3', '0.123', '–')
    """
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def kilobytes(value: int | None) -> str:
    """Thousands of bytes."""
    return "–" if value is None else f"{value / 1e3:.1f}"


def size(nbytes: int) -> str:
    """Powers of two.

    >>> size(1 << 14), size(1 << 22)
    ('16 KiB', '4 MiB')
    """
    return f"{nbytes >> 20} MiB" if nbytes >> 20 else f"{nbytes >> 10} KiB"


def differences(row: Figures) -> str:
    """The largest difference to each peer."""
    return ", ".join(f"{d:.2g} {n}" for n, d in row["difference"].items()) or "–"


def probed(row: Figures, name: str, figure: str, unit: float) -> str:
    """One figure of a probe."""
    found = row["probe"].get(name, {}).get(figure)
    return "–" if found is None else f"{found / unit:.3g}"


def plot(rows: Sequence[Figures], names: Sequence[str], path: Path) -> None:
    """Time of each peer as a multiple of ours, on a logarithmic axis."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 1 + 0.45 * len(rows)), layout="constrained")
    places = range(len(rows))
    peers = [n for n in names if n != OURS]
    for k, name in enumerate(peers):
        there = [i for i in places if name in rows[i]["us"]]
        axes.barh([i + (k + 0.5) * 0.8 / len(peers) - 0.4 for i in there],
                  [rows[i]["us"][name] / rows[i]["us"][OURS] for i in there],
                  height=0.8 / len(peers), label=name)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(list(places), [r["name"] for r in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("time as a multiple of ganglion's (right of the line: ganglion is faster)")
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
