"""`ganglion operators`: the operator table, printed from the rows."""

from dataclasses import dataclass

from ganglion.cli.show import print_json, print_table, say
from ganglion.ops.base import GANGLION_DOMAIN, Kernel, Op, Pointwise
from ganglion.ops.gradients import stops
from ganglion.ops.registry import rows


@dataclass(frozen=True)
class Cell:
    """One operator as the table shows it. `domain`: "ai.onnx" or "ai.ganglion".

    `gradient`: "yes", "zero" (constant almost everywhere), or "none" (not written).
    """

    domain: str
    name: str
    lowering: str
    gradient: str
    reference: str
    source: str


def table() -> list[Cell]:
    """Every row, ONNX's operators first, each domain by name."""
    return [_cell(row) for row in sorted(rows().values(), key=lambda r: r.key)]


def _cell(row: Op) -> Cell:
    return Cell(row.domain or "ai.onnx", row.name, _lowering(row), _gradient(row),
                "ONNX" if row.reference is None else "NumPy", row.source)


def _gradient(row: Op) -> str:
    if row.vjp is None:
        return "none"
    return "zero" if row.vjp is stops else "yes"


def _lowering(row: Op) -> str:
    if row.lower is None:
        return "rewritten before planning"
    if isinstance(row.lower, Kernel):
        return f"kernel {row.lower.family}"
    return "element-wise" if isinstance(row.lower, Pointwise) else "no bytes move"


def run(as_json: bool) -> None:
    """Prints the table."""
    cells = table()
    if as_json:
        print_json([{"domain": c.domain, "name": c.name, "lowering": c.lowering,
                     "gradient": c.gradient, "reference": c.reference, "source": c.source}
                    for c in cells])
        return
    print_table("operators", ["operator", "how it is computed", "gradient", "source"],
                [[f"{c.name}{' *' if c.domain == GANGLION_DOMAIN else ''}", c.lowering,
                  c.gradient, c.source] for c in cells])
    say(f"{len(cells)} operators; those with * are of the domain {GANGLION_DOMAIN}")
