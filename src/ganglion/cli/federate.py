"""`ganglion federate`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ganglion import federated as fed
from ganglion.cli.progress import Bars
from ganglion.cli.show import print_json, print_table
from ganglion.data.arrays import read_npz
from ganglion.errors import DataError
from ganglion.federated.planfile import Simulated, read_plan
from ganglion.federated.store import read_rounds

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


def run_report(run: Path, as_json: bool) -> None:
    """Prints what the rounds of a run came to so far."""
    _show(read_rounds(run), as_json)


def _dealt(simulated: Simulated, plan: fed.Plan) -> tuple[list[fed.Part], fed.Part | None]:
    """Each device's rows, and those that the model is measured on: x_test and y_test."""
    arrays = read_npz(simulated.data)
    x, y = (next((arrays[n] for n in (name, f"{name}_train") if n in arrays), None)
            for name in "xy")
    if x is None or y is None:
        raise DataError(f"{simulated.data}: holds {sorted(arrays)}; expected the arrays x and y "
                        "(or x_train and y_train)")
    dealt = [(x[rows], y[rows])
             for rows in fed.dirichlet(y, simulated.devices, simulated.alpha, plan.seed)]
    tests = [arrays[n] for n in ("x_test", "y_test") if n in arrays]
    return dealt, (tests[0], tests[1]) if len(tests) == 2 else None


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
