"""`ganglion federate`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ganglion import federated as fed
from ganglion.cli.data import HELD_OUT, TRAINING
from ganglion.cli.progress import Bars
from ganglion.cli.show import print_json, print_table, say
from ganglion.data.arrays import read_npz
from ganglion.errors import DataError
from ganglion.federated.channel.host import Host, Register
from ganglion.federated.channel.service import serve
from ganglion.federated.device.light import Key, Link, take_part
from ganglion.federated.planfile import Simulated, read_plan
from ganglion.federated.store import read_rounds
from ganglion.runtime import Trainer

SHOWN_ROUNDS = 12
"""So many rounds, evenly chosen, and the last one stand in the table."""

Rounds = Sequence[tuple[fed.Round, Mapping[str, float]]]


def run_simulation(file: Path, run: Path | None, as_json: bool) -> None:
    """Runs the plan with the data that it names; prints what each round came to."""
    plan, simulated = read_plan(file)
    if simulated is None:
        raise DataError(f"{file} has no [simulation]: say there whose data learn, "
                        'data = "digits.npz" and devices = 10')
    parts, held_out = _dealt(simulated, plan)
    with Bars() as bars:
        bar = bars.rounds("rounds", plan.rounds)
        history = fed.simulate(plan, parts, held_out, run=run, on_round=bar.done)
    _show(list(zip(history.rounds, history.figures)), as_json)


@dataclass(frozen=True)
class Service:
    """How a run is served."""

    devices: int
    address: str
    port: int
    certificate: Path | None
    key: Path | None
    plain: bool
    deadline: float | None
    data: Path | None


def run_enroll(run: Path, device: str, output: Path) -> None:
    """Writes a device's key, readable for nobody else."""
    if output.exists():
        raise DataError(f"{output} exists already: a key that is overwritten is lost")
    register = Register(run)
    text = register.enroll(device).text()
    register.close()
    output.touch(mode=0o600)
    output.write_text(text, encoding="utf-8")
    say(f"{output}: the key of {device}; take it to the device, and nowhere else")


def run_server(file: Path, run: Path, chosen: Service) -> None:
    """Serves the plan until its rounds are done."""
    if (chosen.certificate is None or chosen.key is None) and not chosen.plain:
        raise DataError("a run is served over TLS: give --certificate and --key, or --plain for "
                        "one that everybody on the way may read")
    plan, _ = read_plan(file)
    held_out = None if chosen.data is None else _rows(
        chosen.data, read_npz(chosen.data), (*HELD_OUT[:1], *TRAINING))

    def judged(server: fed.Server) -> Mapping[str, float]:
        return {} if held_out is None else server.judge().evaluate(*held_out)

    def told(done: fed.Round, figures: Mapping[str, float]) -> None:
        shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        say(f"round {done.number + 1} of {plan.rounds}: {len(done.clients)} devices, "
            f"{len(done.refused)} refused, {done.bytes_up:,} bytes up  {shown}")

    def make() -> Host:
        return Host(plan, run, chosen.devices, chosen.deadline, judge=judged, on_round=told)

    secured = None if chosen.plain else chosen.certificate
    serve(make, address=chosen.address, port=chosen.port, certificate=secured,
          key=None if chosen.plain else chosen.key,
          ready=lambda port: say(f"waiting for {chosen.devices} devices on "
                                 f"{chosen.address}:{port}"))


def run_join(server: str, artefact: Path, data: Path, key: Path, memory: Path,
             authorities: Path | None) -> None:
    """Takes part until the run is over."""
    x, y = _rows(data, read_npz(data), TRAINING)
    take_part(Link(server, Key.read(key), authorities), Trainer(artefact), x, y, memory,
              on_round=lambda number: say(f"learned in round {number + 1}"))
    say("the run is over")


def run_report(run: Path, as_json: bool) -> None:
    """Prints what the rounds of a run came to so far."""
    _show(read_rounds(run), as_json)


def _dealt(simulated: Simulated, plan: fed.Plan) -> tuple[list[fed.Part], fed.Part | None]:
    """Each device's rows, and those that the model is measured on: x_test and y_test."""
    arrays = read_npz(simulated.data)
    x, y = _rows(simulated.data, arrays, TRAINING)
    dealt = [(x[rows], y[rows])
             for rows in fed.dirichlet(y, simulated.devices, simulated.alpha, plan.seed)]
    held_out = {"x_test", "y_test"} <= set(arrays)
    return dealt, (arrays["x_test"], arrays["y_test"]) if held_out else None


def _rows(path: Path, arrays: Mapping[str, np.ndarray], suffixes: Sequence[str]
          ) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the arrays of an .npz, with the first of these suffixes that is there."""
    for suffix in suffixes:
        if {f"x{suffix}", f"y{suffix}"} <= set(arrays):
            return arrays[f"x{suffix}"], arrays[f"y{suffix}"]
    raise DataError(f"{path}: holds {sorted(arrays)}; expected the arrays x and y (or x_train and "
                    "y_train)")


def _show(rounds: Rounds, as_json: bool) -> None:
    if as_json:
        print_json([{**asdict(done), "figures": dict(figures)} for done, figures in rounds])
        return
    names = list(rounds[-1][1]) if rounds else []
    up, down = (np.cumsum([getattr(done, name) for done, _ in rounds])
                for name in ("bytes_up", "bytes_down"))
    chosen = sorted({*np.linspace(0, len(rounds) - 1, SHOWN_ROUNDS).astype(int).tolist()}
                    ) if rounds else []
    print_table(f"{len(rounds)} rounds", ["round", "devices", "refused", *names, "bytes up",
                                          "bytes down"],
                [[rounds[k][0].number + 1, len(rounds[k][0].clients), len(rounds[k][0].refused),
                  *(f"{rounds[k][1][name]:.4f}" for name in names), int(up[k]), int(down[k])]
                 for k in chosen])
    refused = [(done.number + 1, client, why) for done, _ in rounds
               for client, why in done.refused.items()]
    if refused:
        print_table("refused", ["round", "device", "why"], refused[:SHOWN_ROUNDS])
