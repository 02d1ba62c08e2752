"""Devices that learn one network together without showing their data.

The names below are looked up when they are first used, so that a device which only takes part
never loads what plans and serves a run.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganglion.federated.device.codecs import Codec as Codec
    from ganglion.federated.device.codecs import Dense as Dense
    from ganglion.federated.device.codecs import Stochastic as Stochastic
    from ganglion.federated.device.codecs import TopK as TopK
    from ganglion.federated.device.light import Key as Key
    from ganglion.federated.device.light import Link as Link
    from ganglion.federated.device.light import take_part as take_part
    from ganglion.federated.device.methods import FedAvg as FedAvg
    from ganglion.federated.device.methods import FedNova as FedNova
    from ganglion.federated.device.methods import FedProx as FedProx
    from ganglion.federated.device.methods import Method as Method
    from ganglion.federated.device.methods import Scaffold as Scaffold
    from ganglion.federated.device.worker import Worker as Worker
    from ganglion.federated.plan import Plan as Plan
    from ganglion.federated.rules import ClippedMean as ClippedMean
    from ganglion.federated.rules import Krum as Krum
    from ganglion.federated.rules import Mean as Mean
    from ganglion.federated.rules import Median as Median
    from ganglion.federated.rules import Rule as Rule
    from ganglion.federated.rules import TrimmedMean as TrimmedMean
    from ganglion.federated.server import Round as Round
    from ganglion.federated.server import Server as Server
    from ganglion.federated.simulation import History as History
    from ganglion.federated.simulation import Part as Part
    from ganglion.federated.simulation import Simulation as Simulation
    from ganglion.federated.simulation import dirichlet as dirichlet
    from ganglion.federated.simulation import simulate as simulate
    from ganglion.federated.store import read_rounds as read_rounds

PUBLIC = {
    "device.codecs": ("Codec", "Dense", "Stochastic", "TopK"),
    "device.light": ("Key", "Link", "take_part"),
    "device.methods": ("FedAvg", "FedNova", "FedProx", "Method", "Scaffold"),
    "device.worker": ("Worker",),
    "plan": ("Plan",),
    "rules": ("ClippedMean", "Krum", "Mean", "Median", "Rule", "TrimmedMean"),
    "server": ("Round", "Server"),
    "simulation": ("History", "Part", "Simulation", "dirichlet", "simulate"),
    "store": ("read_rounds",),
}
"""Where each public name lives."""

HOMES = {name: module for module, names in PUBLIC.items() for name in names}

__all__ = sorted(HOMES)


def __getattr__(name: str) -> object:
    """Import a public name's home and hand the name out."""
    if name in HOMES:
        return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
