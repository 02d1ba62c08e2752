"""Whether a plan fits a device's flash and RAM."""

from collections import Counter

from ganglion.errors import TargetError
from ganglion.kernels.registry import families
from ganglion.plan.types import Plan
from ganglion.toolchain.targets import Target


def check_memory(plan: Plan, target: Target) -> None:
    """Raises TargetError saying by how much, and which layers weigh most.

    Flash holds constants (code comes on top); RAM holds arena and state.
    """
    problems = []
    flash, ram = plan.const_bytes, plan.arena_bytes + plan.state_bytes
    if target.flash_bytes is not None and flash > target.flash_bytes:
        problems.append(f"weights and tables take {flash} bytes of flash, "
                        f"{flash - target.flash_bytes} more than its {target.flash_bytes}; "
                        f"heaviest: {_listed(_constant_weights(plan))}")
    if target.ram_bytes is not None and ram > target.ram_bytes:
        problems.append(f"arena and state take {ram} bytes of RAM, {ram - target.ram_bytes} more "
                        f"than its {target.ram_bytes}; largest: {_listed(_buffer_weights(plan))}")
    if problems:
        raise TargetError(f"the network does not fit {target.name!r}: {'; '.join(problems)}. "
                          "Quantise it to int8, prune channels, or choose a larger device")


def _constant_weights(plan: Plan) -> Counter[str]:
    weights: Counter[str] = Counter()
    for step in plan.steps:
        for ref in step.operands:
            if ref.place == "const":
                weights[step.node] += len(plan.constants[ref.index].data)
    return weights


def _buffer_weights(plan: Plan) -> Counter[str]:
    weights: Counter[str] = Counter()
    for step in plan.steps:
        described = families()[step.family].operands(step.spec)
        weights[step.node] += sum(o.nbytes for o, r in zip(described, step.operands)
                                  if r.place == "arena")
    return weights


def _listed(weights: Counter[str]) -> str:
    return ", ".join(f"{name} {count} bytes" for name, count in weights.most_common(3)) or "none"
