"""A device's part: what it learns, what it remembers, what it refuses."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.federated.small import data, net, parts, plan, step

import ganglion as gg
from ganglion import federated as fed
from ganglion.errors import DataError
from ganglion.federated.device.messages import Answer, Task
from ganglion.federated.device.worker import Memory, OutOfStep, first_memory


def worker(chosen: fed.Plan, client: int = 0, rows: int = 30) -> fed.Worker:
    x, y = data()
    return fed.Worker(chosen.settings, chosen.step.trainer(), x[:rows], y[:rows],
                      first_memory(chosen.settings, chosen.trainer), client)


def test_one_device_alone_learns_as_its_trainer_does() -> None:
    """A run of one device with everything sent is that device's own learning, on the lattice."""
    chosen = plan(rounds=3)
    server = fed.Server(chosen, {0: 30})
    device = worker(chosen)
    trainer = chosen.step.trainer()
    before = trainer.get_flat()
    for _ in range(3):
        answer = device.work(server.task(0))
        server.receive(0, answer)
        server.close()
        assert np.array_equal(server.model, np.rint(device.trainer.get_flat().astype(np.float64)
                                                    * 2**20))
    assert not np.array_equal(before, device.trainer.get_flat())


def test_the_same_task_twice_gets_the_same_answer_and_is_learned_once() -> None:
    chosen = plan(up=fed.Stochastic(3))
    server, device = fed.Server(chosen, {0: 30}), worker(chosen)
    task = server.task(0)
    answer = device.work(task)
    weights = device.trainer.get_flat()
    assert device.work(task) == answer
    assert np.array_equal(device.trainer.get_flat(), weights)


def test_what_a_device_remembers_survives_it() -> None:
    """A device that was switched off between rounds answers as one that was not."""
    chosen = plan(up=fed.TopK(0.1), down=fed.TopK(0.2), method=fed.Scaffold(), correction=True,
                  personal=["head/*"])
    server, steady, dropped = fed.Server(chosen, {0: 30}), worker(chosen), worker(chosen)
    for _ in range(3):
        task = server.task(0)
        answer = steady.work(task)
        fresh = worker(chosen)
        fresh.memory = Memory.restore(dropped.memory.save())
        assert fresh.work(task) == answer
        dropped = fresh
        server.receive(0, answer)
        server.close()


def test_damaged_memory_is_noticed() -> None:
    saved = bytearray(worker(plan()).memory.save())
    saved[-3] ^= 1
    with pytest.raises(DataError, match="memory is damaged"):
        Memory.restore(bytes(saved))


def test_tasks_of_others_and_of_the_past_are_refused() -> None:
    chosen, other = plan(), plan(seed=4)
    device, server = worker(chosen), fed.Server(chosen, {0: 30})
    first = server.task(0)
    server.receive(0, device.work(first))
    server.close()
    device.work(server.task(0))
    memory = device.memory
    with pytest.raises(DataError, match="delayed or replayed"):
        device.work(first)
    with pytest.raises(DataError, match="another run"):
        device.work(fed.Server(other, {0: 30}).task(0))
    with pytest.raises(DataError, match="damaged"):
        device.work(first[:-1])
    assert device.memory is memory


def test_a_device_that_is_out_of_step_asks_for_the_whole_model() -> None:
    chosen = plan(down=fed.TopK(0.1))
    server, device = fed.Server(chosen, {0: 30, 1: 30}), worker(chosen)
    server.receive(0, device.work(server.task(0)))
    server.close()
    lost = worker(chosen)  # its flash was erased: it has the built-in model again
    lost.memory = replace(lost.memory, held=lost.memory.held + 1)
    with pytest.raises(OutOfStep):
        lost.work(server.task(0))
    server.receive(0, lost.work(server.task(0, whole=True)))
    assert np.array_equal(lost.memory.held, server.model)


def test_personal_weights_never_leave_and_stay_different() -> None:
    chosen = plan(personal=["head/*"])
    assert chosen.shared == ("hidden/kernel", "hidden/bias")
    simulation = fed.Simulation(chosen, parts(3))
    for _ in range(2):
        simulation.step()
    own = [simulation._memories[c].own for c in range(3)]
    assert len(own[0]) == 16 * 4 + 4
    assert not np.array_equal(own[0], own[1])
    assert len(simulation.server.model) == 12 * 16 + 16


def test_parts_that_cannot_learn_are_refused() -> None:
    chosen = plan()
    with pytest.raises(DataError, match="no rows"):
        worker(chosen, rows=0)
    whole = gg.compile_training(net(), loss="sparse_categorical_crossentropy", optimizer="sgd",
                                batch_size=8, check=False)
    with pytest.raises(DataError, match="sample_weight=True"):
        worker(fed.Plan(whole), rows=5)
    x, y = data()
    bad = fed.Worker(chosen.settings, chosen.step.trainer(), x[:9], y[:9] + 40,
                     first_memory(chosen.settings, chosen.trainer))
    with pytest.raises(DataError, match="4 classes"):
        bad.work(fed.Server(chosen, {0: 9}).task(0))


def test_another_artefact_and_a_method_that_it_lacks_are_refused() -> None:
    chosen = plan()
    with pytest.raises(DataError, match="copy the run's artefact"):
        fed.Worker(chosen.settings, step(rate=0.2).trainer(), *data(),
                   first_memory(chosen.settings, chosen.trainer))
    for method in (fed.Scaffold(), fed.FedProx()):
        with pytest.raises(DataError, match="correction=True"):
            plan(method=method)


@pytest.mark.parametrize("settings", [
    {"rounds": 0}, {"local_epochs": 1.5}, {"clients_per_round": 0}, {"seed": -1},
    {"learning_rate": 0}, {"server_learning_rate": float("nan")}, {"most_norm": -1},
    {"method": "scaffold"}, {"up": 3}, {"down": None}, {"rule": fed.FedAvg()},
    {"personal": ["neck*"]}, {"personal": ["*"]}])
def test_plans_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(DataError, match=next(iter(settings))):
        plan(**settings)


@pytest.mark.parametrize(("change", "said"), [
    ({"number": 7}, "of round 7 in round 0"), ({"run": b"other id"}, "another run"),
    ({"rows": 10**6}, "1000000 rows"), ({"steps": 1}, "1 steps"), ({"loss": float("nan")}, "nan"),
    ({"held": 5}, "another model"), ({"difference": b"\0"}, "damaged")])
def test_answers_that_cannot_be_right_are_refused_and_change_nothing(
        change: dict[str, object], said: str) -> None:
    chosen = plan()
    server, device = fed.Server(chosen, {0: 30, 1: 30}), worker(chosen)
    answer = Answer.from_bytes(device.work(server.task(0)))
    before = server.model
    with pytest.raises(DataError, match=said):
        server.receive(0, replace(answer, **change).to_bytes())
    with pytest.raises(DataError, match="was not asked"):
        server.receive(1, answer.to_bytes())
    done = server.close()
    assert said in done.refused[0]
    assert np.array_equal(server.model, before)


def test_an_answer_that_comes_twice_counts_once() -> None:
    chosen = plan()
    server, device = fed.Server(chosen, {0: 30}), worker(chosen)
    answer = device.work(server.task(0))
    server.receive(0, answer)
    server.receive(0, answer)
    assert server.close().clients == (0,)


ALONE = """
import sys
import numpy as np
from ganglion.federated.device.worker import Worker
from ganglion.runtime import Trainer
foreign = {m.split(".")[0] for m in sys.modules} & {
    "onnx", "onnx_ir", "jinja2", "sklearn", "flwr", "h5py", "cryptography"}
print(sorted(foreign), sorted(m for m in sys.modules if m.startswith("ganglion.") and
                              m.split(".")[1] not in ("runtime", "federated")))
"""


def test_a_device_needs_numpy_and_the_runtime_alone() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True,
                          check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split("] ")[0] == "["
    assert set(eval(done.stdout.split("] ")[1])) <= {
        "ganglion.cpu", "ganglion.errors", "ganglion.files", "ganglion.locks", "ganglion.scratch",
        "ganglion.tensors"}


def test_a_task_is_what_it_says() -> None:
    chosen = plan()
    task = Task.from_bytes(fed.Server(chosen, {0: 30}).task(0))
    assert (task.run, task.number, task.whole, task.control) == (chosen.digest[:8], 0, False, None)
