"""`ganglion export`."""

from collections.abc import Sequence
from pathlib import Path

from ganglion.cli.data import check_output
from ganglion.cli.show import print_json, print_table, say
from ganglion.cli.source import Source
from ganglion.errors import DataError
from ganglion.formats.tflite.write import edgetpu
from ganglion.formats.tflite.write.flat import FlatNetwork
from ganglion.formats.tflite.write.network import export

CHECKS = ("edgetpu",)


def run(source: Source, output: Path, batch: int, hybrid: bool, check: str | None, as_json: bool
        ) -> None:
    """Writes the network as a .tflite file, and tells what an Edge TPU would run of it."""
    check_output(output, ".tflite")
    if check is not None and check not in CHECKS:
        raise DataError(f"--check {check}: known are {', '.join(CHECKS)}")
    network = export(source.load(), output, batch, hybrid=hybrid)
    verdicts = edgetpu.check(network) if check else []
    printed = edgetpu.compiled(output) if check else None
    size = output.stat().st_size
    if as_json:
        answer: dict[str, object] = {"output": str(output), "output_bytes": size,
                                     "operators": len(network.operators)}
        if check:
            answer["edgetpu"] = {
                "operators": [{"operator": v.operator, "node": v.node, "runs": v.runs,
                               "reason": v.reason} for v in verdicts],
                "parameter_bytes": edgetpu.parameter_bytes(network), "compiler": printed}
        print_json(answer)
        return
    if check:
        _tell(network, verdicts, printed)
    say(f"wrote {output}: {size:,} bytes, {len(network.operators)} operators")


def _tell(network: FlatNetwork, verdicts: Sequence[edgetpu.Verdict], printed: str | None) -> None:
    rows = [[v.operator, v.node, "yes" if v.runs else "no", v.reason] for v in verdicts]
    print_table("on an Edge TPU", ["operator", "node", "runs", "why not"], rows)
    used = edgetpu.parameter_bytes(network)
    say(f"{sum(v.runs for v in verdicts)} of {len(verdicts)} operators run; parameters {used:,} "
        f"bytes, of which {edgetpu.CACHE_BYTES:,} fit into the chip")
    for line in ([f"{edgetpu.COMPILER} is not installed; the table is by its documentation"]
                 if printed is None else printed.rstrip().splitlines()):
        say(line)
