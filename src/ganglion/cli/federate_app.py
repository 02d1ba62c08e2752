"""`ganglion federate ...`: the words; `cli.federate` does the work."""

from pathlib import Path
from typing import Annotated

import typer

federate = typer.Typer(no_args_is_help=True, help="Devices that learn one network together.")

PlanFile = Annotated[Path, typer.Argument(help="what the run is: plan.toml")]
Json = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]


@federate.command()
def simulate(
    plan: PlanFile,
    run: Annotated[Path | None, typer.Option(help="the folder of the run, taken up from")] = None,
    json: Json = False,
) -> None:
    """Run a plan on this machine, with all its devices."""
    from ganglion.cli.federate import run_simulation

    run_simulation(plan, run, json)


@federate.command()
def enroll(
    run: Annotated[Path, typer.Argument(help="the folder of the run, at the server")],
    device: Annotated[str, typer.Argument(help="the device's name")],
    output: Annotated[Path, typer.Option("--output", "-o", help="where its key goes, to be taken "
                                         "to the device")],
) -> None:
    """Make a key for a device that may take part in a run."""
    from ganglion.cli.federate import run_enroll

    run_enroll(run, device, output)


@federate.command()
def serve(
    plan: PlanFile,
    run: Annotated[Path, typer.Option(help="the folder of the run, taken up from")],
    devices: Annotated[int, typer.Option(min=1, help="so many must have joined before it begins")],
    address: Annotated[str, typer.Option(help="where to listen")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses one")] = 8443,
    certificate: Annotated[Path | None, typer.Option(help="of TLS, a PEM file")] = None,
    key: Annotated[Path | None, typer.Option(help="of that certificate, a PEM file")] = None,
    plain: Annotated[bool, typer.Option(help="serve without TLS: everybody on the way reads "
                                        "along")] = False,
    deadline: Annotated[float | None, typer.Option(min=0.1, help="seconds that a round waits once "
                                                   "it has an answer; for all if left out")] = None,
    data: Annotated[Path | None, typer.Option(help=".npz of rows that the model is measured "
                                              "on")] = None,
) -> None:
    """Serve a run to devices until it is over."""
    from ganglion.cli.federate import Service, run_server

    run_server(plan, run, Service(devices, address, port, certificate, key, plain, deadline, data))


@federate.command()
def join(
    server: Annotated[str, typer.Argument(help="https://HOST:PORT")],
    artefact: Annotated[Path, typer.Option(help="the folder that compile-training wrote")],
    data: Annotated[Path, typer.Option(help="this device's rows: .npz with x and y")],
    key: Annotated[Path, typer.Option(help="the file that enroll wrote")],
    memory: Annotated[Path, typer.Option(help="a folder for what the device remembers")],
    ca: Annotated[Path | None, typer.Option(help="whom to trust, a PEM file; the system's "
                                            "authorities if left out")] = None,
) -> None:
    """Take part in a run with this device's data, until the run is over."""
    from ganglion.cli.federate import run_join

    run_join(server, artefact, data, key, memory, ca)


@federate.command()
def report(
    run: Annotated[Path, typer.Argument(help="the folder of a run")],
    json: Json = False,
) -> None:
    """Show what the rounds of a run came to: figures, bytes, refused answers."""
    from ganglion.cli.federate import run_report

    run_report(run, json)
