"""Laws: HDF5 files of Keras 1 and 2 answer as their weights say, and hostile ones are refused."""

import json
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest

import ganglion as gg
from ganglion.errors import GanglionError, ModelError, TrustError, UnsupportedOp
from ganglion.ops.evaluate import evaluate

W, B = np.float32([[1, -2], [0.5, 3], [2, 1]]), np.float32([0.25, -1])
X = np.float32([[1, 2, -1]])
DENSE = {"class_name": "Dense", "config": {
    "name": "d", "units": 2, "activation": "relu", "use_bias": True, "trainable": True,
    "batch_input_shape": [None, 3], "kernel_constraint": None}}
INPUT = {"class_name": "InputLayer", "name": "x", "inbound_nodes": [], "config": {
    "name": "x", "batch_input_shape": [None, 3], "dtype": "float32", "sparse": False}}
FORMS: Mapping[str, object] = {
    "list": {"class_name": "Sequential", "config": [DENSE]},
    "mapping": {"class_name": "Sequential", "config": {"name": "n", "layers": [DENSE]}},
    "functional": {"class_name": "Model", "config": {
        "name": "n", "layers": [INPUT, {**DENSE, "name": "d", "inbound_nodes": [
            [["x", 0, 0, {}]]]}],
        "input_layers": [["x", 0, 0]], "output_layers": [["d", 0, 0]]}}}


def write(path: Path, config: object, kernel: np.ndarray = W, linked: bool = False) -> Path:
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights/d")
        group.attrs["weight_names"] = [b"d_1/kernel:0", b"d_1/bias:0"]
        group["d_1/bias:0"] = B
        if linked:
            group["d_1/kernel:0"] = h5py.ExternalLink("/etc/other.h5", "/w")
        else:
            group["d_1/kernel:0"] = kernel
    return path


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
@pytest.mark.parametrize("form", FORMS)
def test_old_files_answer_as_their_weights_say(form: str, suffix: str, tmp_path: Path) -> None:
    model = gg.load(write(tmp_path / f"n{suffix}", FORMS[form]))
    found, = evaluate(model, {str(model.graph.inputs[0].name): X}).values()
    np.testing.assert_allclose(found, np.maximum(X @ W + B, 0), rtol=1e-6)


def test_weights_alone_are_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="load_weights"):
        gg.load(write(tmp_path / "n.h5", None))


def test_links_out_of_the_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="link"):
        gg.load(write(tmp_path / "n.h5", FORMS["list"], linked=True))


def test_code_and_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    code = {"class_name": "Sequential", "config": [{"class_name": "Lambda",
                                                    "config": {"name": "d"}}]}
    with pytest.raises(TrustError, match="never run"):
        gg.load(write(tmp_path / "code.h5", code))
    with pytest.raises(ModelError, match="shape"):
        gg.load(write(tmp_path / "shape.h5", FORMS["list"], W[:2]))


def test_a_network_within_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    inner = {"class_name": "Sequential", "config": [FORMS["mapping"]]}
    with pytest.raises(UnsupportedOp, match="keras"):
        gg.load(write(tmp_path / "inner.h5", inner))
    path = write(tmp_path / "cut.h5", FORMS["list"])
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(GanglionError):
        gg.load(path)
