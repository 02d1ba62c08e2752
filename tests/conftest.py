"""What holds for every test."""

import os
from collections.abc import Generator

import pytest

PEERS = ("keras", "onnxruntime", "emulator", "gcc", "litert", "torch")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]
                              ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With GANGLION_REQUIRE_PEERS set, a test that a missing peer would skip fails instead: where
    everything was installed, nothing may go untested in silence."""
    report = yield
    if (report.skipped and os.environ.get("GANGLION_REQUIRE_PEERS")
            and any(item.get_closest_marker(name) for name in PEERS)):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped: {report.longrepr}"
    return report
