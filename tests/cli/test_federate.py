"""`ganglion federate`: plans in files, run here."""

import json

import numpy as np
import pytest
from tests.federated.small import data, step

PLAN = """
artefact = "learning"
rounds = 4
method = "fedavg"
rule = { name = "trimmedmean", share = 0.1 }
up = { name = "topk", share = 0.2, values = { name = "stochastic", bits = 4 } }
down = { name = "stochastic", bits = 8 }
seed = 3

[simulation]
data = "rows.npz"
devices = 5
alpha = 1.0
"""


@pytest.fixture
def plan(tmp_path):
    step().save(tmp_path / "learning")
    (x, y), (x_test, y_test) = data(), data(200, seed=1)
    np.savez(tmp_path / "rows.npz", x=x, y=y, x_test=x_test, y_test=y_test)
    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    return file


def test_a_plan_is_run_and_reported(ganglion, plan, tmp_path):
    done = ganglion("federate", "simulate", plan, "--run", tmp_path / "run", "--json")
    rounds = json.loads(done.out)
    assert [r["number"] for r in rounds] == [0, 1, 2, 3]
    assert rounds[-1]["figures"]["accuracy"] > rounds[0]["figures"]["accuracy"]
    assert json.loads(ganglion("federate", "report", tmp_path / "run", "--json").out) == rounds
    table = ganglion("federate", "report", tmp_path / "run").out
    assert f"{rounds[-1]['figures']['accuracy']:.4f}" in table


@pytest.mark.parametrize(("old", "new", "said"), [
    ("rounds = 4", "runds = 4", "no setting 'runds'"),
    ('"fedavg"', '"fedavgg"', "method='fedavgg'"),
    ("share = 0.1", "part = 0.1", "no setting 'part'"),
    ('artefact = "learning"', "", "compile-training"),
    ("devices = 5", "devices = 0", "devices=0"),
    ("alpha = 1.0", "alpha = -1", "alpha=-1"),
    ('data = "rows.npz"', "", "needs data"),
    ("rounds = 4", "rounds = ", "no TOML file"),
    ('"fedavg"', '"scaffold"', "correction=True")])
def test_what_is_wrong_in_a_plan_is_said(ganglion, plan, old, new, said):
    plan.write_text(PLAN.replace(old, new))
    done = ganglion("federate", "simulate", plan)
    assert done.code == 2
    assert said in " ".join(done.err.split())


def test_a_folder_without_a_run_is_said(ganglion, tmp_path):
    done = ganglion("federate", "report", tmp_path)
    assert done.code == 2
    assert "holds no run" in done.err


def test_a_run_is_served_over_tls_unless_the_user_says_otherwise(ganglion, plan, tmp_path):
    done = ganglion("federate", "serve", plan, "--run", tmp_path / "live", "--devices", 2)
    assert done.code == 2
    assert "--certificate and --key, or --plain" in " ".join(done.err.split())


def test_a_key_is_for_its_owner_and_not_overwritten(ganglion, tmp_path):
    done = ganglion("federate", "enroll", tmp_path / "live", "cam-1", "-o", tmp_path / "key")
    assert done.code == 0
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    again = ganglion("federate", "enroll", tmp_path / "live", "cam-2", "-o", tmp_path / "key")
    assert again.code == 2
    assert "exists already" in again.err
