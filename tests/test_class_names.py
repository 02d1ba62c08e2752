"""Law: names of classes that training saw stay with the network wherever it goes."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.data import Samples
from ganglion.errors import DataError, ModelError
from ganglion.ops.classes import class_names, name_classes

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
NAMES = ("broken\n*/", "new", "worn")
SAMPLES = Samples(X, X[:, :3].argmax(1), NAMES)


def net(columns: int = 3) -> ir.Model:
    return gg.Sequential([gg.Input((4,)), L.Dense(6, activation="relu"),
                          L.Dense(columns, activation="softmax" if columns > 1 else "sigmoid")],
                         name="parts")


@pytest.fixture(scope="module")
def trained() -> ir.Model:
    return gg.fit(net(), SAMPLES, loss="sparse_categorical_crossentropy", epochs=1,
                  validation_data=SAMPLES)[0]


ROADS = {
    "as it is": lambda m: m,
    "quantised": lambda m: gg.quantize(m, X),
    "int8 ports": lambda m: gg.quantize(m, X, io="int8"),
    "weights alone": lambda m: gg.quantize(m, weights_only=True),
    "aware": lambda m: gg.quantize(gg.quantize_aware(m, X)),
    "pruned": lambda m: gg.prune_channels(m, 0.5)[0],
    "trained on": lambda m: gg.fit(m, SAMPLES, loss="sparse_categorical_crossentropy")[0],
}


@pytest.mark.parametrize("road", ROADS)
def test_names_reach_the_build_by_every_road(trained: ir.Model, road: str, tmp_path: Path) -> None:
    gg.save(ROADS[road](trained), tmp_path / "net.onnx")
    read = gg.load(tmp_path / "net.onnx")
    built = gg.compile(read, isas=("scalar",))
    assert built.session().outputs[0].classes == NAMES
    assert gg.Session(built.save(tmp_path / "build")).outputs[0].classes == NAMES
    header = built.files["parts.h"].decode()
    assert "1 new, 2 worn" in header
    assert "broken\n" not in header
    assert "broken*/" not in header


def test_a_network_without_names_says_nothing_of_classes() -> None:
    built = gg.compile(net(), isas=("scalar",))
    assert built.session().outputs[0].classes == ()
    assert "classes" not in built.files["parts.c"].decode() + built.files["parts.h"].decode()


def test_classes_are_numbered_as_the_network_names_them(trained: ir.Model) -> None:
    """A file without the first class would number the others from 0."""
    few = X[SAMPLES.y > 0]
    other = Samples(few, SAMPLES.y[SAMPLES.y > 0] - 1, NAMES[1:])
    wanted = gg.evaluate(trained, few, SAMPLES.y[SAMPLES.y > 0])
    assert gg.evaluate(trained, other) == wanted
    with pytest.raises(DataError, match="the class 'odd' is none that the network knows"):
        gg.evaluate(trained, Samples(few, other.y, ("new", "odd")))
    with pytest.raises(DataError, match="leave y out"):
        gg.fit(trained, SAMPLES, SAMPLES.y, loss="sparse_categorical_crossentropy")
    with pytest.raises(DataError, match="y is missing"):
        gg.evaluate(trained, X)


def test_a_single_column_has_two_names(tmp_path: Path) -> None:
    model = gg.fit(net(1), Samples(X, SAMPLES.y > 0, ("no", "yes")), loss="binary_crossentropy")[0]
    assert class_names(model) == {str(model.graph.outputs[0].name): ("no", "yes")}


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d"), ("a", "b", 3), ()])
def test_names_that_do_not_fit_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="names of classes"):
        name_classes(net(), names)


@pytest.mark.parametrize("text", ["[", "3", "[1]", '{"NAME": 3}', '{"NAME": ["a"]}',
                                  '{"NAME": ["a", "b", 3]}', "[" * 100_000])
def test_metadata_that_means_nothing_is_refused(text: str) -> None:
    model = net()
    text = text.replace("NAME", str(model.graph.outputs[0].name))
    model.metadata_props["ganglion.classes"] = text
    with pytest.raises(ModelError, match=r"ganglion\.classes"):
        gg.compile(model, isas=("scalar",))
