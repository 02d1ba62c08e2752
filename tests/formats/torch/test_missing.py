"""Without torch, the error says what to install."""

import sys

import pytest

import ganglion as gg
from ganglion.errors import ToolchainError


@pytest.mark.parametrize("missing", [["torch", "onnxscript"], ["onnxscript"]], ids=len)
def test_what_is_missing_is_named_with_the_command(monkeypatch, missing: list[str]) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ToolchainError, match=r"is missing: `pip install torch onnxscript`"):
        gg.from_torch(object(), [])  # type: ignore[arg-type]
