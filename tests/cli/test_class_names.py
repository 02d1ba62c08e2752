"""The words of a table's last column are the names that every command shows."""

import json

import numpy as np

import ganglion as gg
from ganglion import layers as L

NAMES = ("broken", "new", "worn")


def test_the_commands_show_names(tmp_path, ganglion):
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    lines = [",".join([*map(str, row), NAMES[row[:3].argmax()]]) for row in x]
    (tmp_path / "parts.csv").write_text("a,b,c,d,kind\n" + "\n".join(lines))
    few = [line for line in lines if not line.endswith("broken")]
    (tmp_path / "few.csv").write_text("a,b,c,d,kind\n" + "\n".join(few))
    net = gg.Sequential([gg.Input((4,)), L.Dense(6, activation="relu"),
                         L.Dense(3, activation="softmax")], name="parts")
    gg.save(net, tmp_path / "net.onnx")
    made = ganglion("train", "net.onnx", "--data", "parts.csv", "-o", "trained.onnx", "--epochs",
                    "30", "--json")
    assert json.loads(made.out)["classes"] == ["broken", "new", "worn"]
    judged = json.loads(ganglion("evaluate", "trained.onnx", "--data", "few.csv", "--json").out)
    assert judged["recall_by_class"]["broken"] is None
    assert set(judged["recall_by_class"]) == {"broken", "new", "worn"}
    assert ganglion("compile", "trained.onnx", "-o", "build").code == 0
    answer = ganglion("run", "build", "few.csv")
    assert any(name in answer.out for name in NAMES)
    named = json.loads(ganglion("run", "build", "few.csv", "--json").out)
    assert len(next(v for k, v in named.items() if k.endswith(".class"))) == len(few)
