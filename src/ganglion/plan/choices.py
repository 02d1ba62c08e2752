"""Variants chosen by measurement: what the planner takes in place of its cost model's answer.

A choice belongs to what a kernel computes, not to a network: two networks with the same layer
share it. Whether it is still true depends on the kernels, so timings carry `kernel_version`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from types import MappingProxyType

from ganglion.kernels.base import Variant
from ganglion.kernels.registry import families
from ganglion.plan.types import Plan

SOURCE_SUFFIXES = (".py", ".j2", ".h")


@dataclass(frozen=True)
class Choices:
    """The name of a variant for each key of `choice_key`; read only."""

    variants: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "variants", MappingProxyType(dict(self.variants)))

    def of(self, family: str, spec: object) -> str | None:
        """The chosen variant's name, or None where nothing was measured."""
        return self.variants.get(choice_key(family, spec)) if self.variants else None

    def followed(self, plan: Plan) -> tuple[int, int]:
        """How many steps of a plan take the chosen variant, and how many cannot."""
        chosen = [(self.of(s.family, s.spec), s.variant) for s in plan.steps]
        taken = sum(name == variant for name, variant in chosen)
        return taken, sum(name is not None for name, _ in chosen) - taken


NO_CHOICES = Choices()


def choice_key(family: str, spec: object) -> str:
    """"family:digest": SHA-256 over the family and its frozen spec, written out in full."""
    text = f"{family}\n{spec!r}"
    return f"{family}:{hashlib.sha256(text.encode()).hexdigest()}"


def candidates(family: str, spec: object, isas: tuple[str, ...]) -> list[Variant[object]]:
    """The variants that a target with `isas` runs and that accept the spec."""
    return [v for v in families()[family].variants if v.isa.name in isas and v.accepts(spec)]


@cache
def kernel_version() -> str:
    """SHA-256 over all that kernels are made of: templates, vocabularies, and their Python.

    One number for all families: they share templates, and measuring again costs seconds.
    """
    digest = hashlib.sha256()
    root = resources.files("ganglion.kernels")
    for folder in (root, root / "isa"):
        for file in sorted(folder.iterdir(), key=lambda f: f.name):
            if file.is_file() and file.name.endswith(SOURCE_SUFFIXES):
                text = file.read_text(encoding="utf-8")
                digest.update(f"{file.name}\n{len(text)}\n{text}".encode())
    return digest.hexdigest()
