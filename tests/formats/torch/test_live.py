"""A live PyTorch module comes in as a Model: it answers as PyTorch does, under PyTorch's names."""

import os

import numpy as np
import pytest

import ganglion as gg
from ganglion.errors import ModelError, UnsupportedOp

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
REQUIRED = bool(os.environ.get("GANGLION_REQUIRE_PEERS"))
torch = pytest.importorskip("torch") if not REQUIRED else __import__("torch")
nn, F = torch.nn, torch.nn.functional


class Net(nn.Module):
    """Normalised with and without a gain, dropped, and one parameter that is set not to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)
        self.drop, self.end = nn.Dropout(0.3), nn.Linear(4, 3)
        self.end.bias.requires_grad_(False)

    def forward(self, x, scale=None):
        x = self.first(self.conv(x))
        x = F.relu(self.second(x if scale is None else x * scale)).mean((2, 3))
        return self.end(self.drop(x))


class States(nn.Module):
    """A recurrent layer with its states given, whose batch is the second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)

    def forward(self, x, states):
        y, (h, c) = self.lstm(x, states)
        return y, h, c


class Fixed(nn.Module):
    """One size of batch alone."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("offset", torch.arange(float(rows))[:, None])

    def forward(self, x):
        return x.reshape(len(self.offset), 6) + self.offset


def answers(model, *inputs) -> list[np.ndarray]:
    batch = next(v.shape[0] for v in model.graph.inputs)
    kept = {} if isinstance(batch, int) else {"batch": len(inputs[0])}
    found = gg.compile(model, isas=("scalar",), **kept).session().run(
        *(t.numpy() for t in inputs))
    return list(found) if isinstance(found, tuple | list) else [found]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_batch_of_any_size_is_answered_as_by_pytorch(rows: int, training: bool) -> None:
    torch.manual_seed(0)
    module = Net()
    module.second.eval()
    model = gg.from_torch(module, torch.randn(rows, 2, 6, 6), training=training)
    assert [part.training for part in module.modules()] == [True, True, True, False, True, True]
    x = torch.randn(5, 2, 6, 6)
    found, = answers(model, x)
    np.testing.assert_allclose(found, module.eval()(x).detach(), rtol=0, atol=1e-5)


def test_weights_keep_their_names_and_values() -> None:
    module = Net()
    model = gg.from_torch(module, torch.randn(1, 2, 6, 6))
    assert model.graph.name == "Net"
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            kept = model.graph.initializers[name].const_value
            assert kept is not None
            np.testing.assert_array_equal(kept.numpy(), value.numpy())


def test_parameters_of_equal_values_stay_apart_under_their_names() -> None:
    module = nn.Sequential(nn.LayerNorm(4))
    module.add_module("0_more", nn.Sequential(nn.LayerNorm(4)))
    model = gg.from_torch(module, torch.randn(2, 4), training=True)
    _, history = gg.fit(model, np.ones((8, 4)), np.ones((8, 4)), loss="mse")
    assert set(module.state_dict()) == set(history.trained)


def test_inputs_are_given_alone_or_by_place_or_by_name() -> None:
    module, x, scale = Net().eval(), torch.randn(2, 2, 6, 6), torch.randn(2, 4, 1, 1)
    wanted = module(x, scale).detach()
    for given in ((x, scale), {"scale": scale, "x": x}, [x.numpy(), scale.double().numpy()]):
        model = gg.from_torch(module, given)
        assert [v.name for v in model.graph.inputs] == ["x", "scale"]
        np.testing.assert_allclose(answers(model, x, scale)[0], wanted, rtol=0, atol=1e-5)
    assert len(gg.from_torch(module, x).graph.inputs) == 1


@pytest.mark.parametrize("dynamic", [
    None, {"x": {0: "rows"}, "states": ({1: "rows"}, {1: "rows"})}], ids=["found", "given"])
def test_the_batch_of_given_states_is_their_second_axis(dynamic) -> None:
    module = States().eval()
    x, states = torch.randn(4, 6, 3), tuple(torch.randn(1, 4, 5) for _ in range(2))
    model = gg.from_torch(module, (x, states), dynamic=dynamic)
    assert not any(isinstance(v.shape[k], int) for v, k in zip(model.graph.inputs, (0, 1, 1)))
    for found, wanted in zip(answers(model, x, *states), module(x, states), strict=True):
        np.testing.assert_allclose(found, wanted.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 4])
def test_a_batch_that_the_module_fixes_is_that_of_the_example(rows: int) -> None:
    x = torch.randn(rows, 6)
    for dynamic in (None, {}):
        model = gg.from_torch(Fixed(rows), x, dynamic=dynamic)
        assert list(model.graph.inputs[0].shape) == [rows, 6]
        np.testing.assert_allclose(answers(model, x)[0], Fixed(rows)(x), rtol=0, atol=1e-6)
    with pytest.raises(ModelError, match=r"one size of 'n' alone|cannot export Fixed"):
        gg.from_torch(Fixed(rows), x, dynamic={"x": {0: "n"}})


@pytest.mark.parametrize(("given", "dynamic", "said"), [
    ((1, 2, 3), None, "example_inputs do not fit Net.forward"),
    ({"z": 1}, None, "example_inputs do not fit Net.forward"),
    (torch.zeros(1, 2, 6, 6), {"z": {0: "n"}}, "is given no 'z'; the example has x"),
    (torch.zeros(1, 2, 6, 6), {"x": {4: "n"}}, "has the axes 0 to 3, found 4"),
    (torch.zeros(1, 2, 6, 6), {"x": "n"}, "expected {axis: name}"),
    (torch.zeros(1, 5, 6, 6), None, "cannot export Net: .*channels"),
], ids=str)
def test_what_does_not_fit_is_said(given, dynamic, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        gg.from_torch(Net(), given, dynamic=dynamic)


def test_only_modules_are_taken() -> None:
    with pytest.raises(ModelError, match=r"takes a torch.nn.Module, not function"):
        gg.from_torch(F.relu, torch.zeros(1))


def test_a_parameter_that_is_set_not_to_learn_does_not() -> None:
    module = Net()
    x, y = np.random.default_rng(0).normal(size=(8, 2, 6, 6)), np.zeros((8, 3))
    _, history = gg.fit(gg.from_torch(module, x.astype(np.float32)), x, y, loss="mse")
    assert set(history.trained) == {"conv.weight", "first.weight", "first.bias", "end.weight"}
    assert "set not to learn" in history.frozen["end.bias"]


class Counting(nn.Module):
    """Keeps what it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += x.sum()
        return x + self.seen


def test_a_buffer_that_calls_change_is_refused() -> None:
    with pytest.raises(UnsupportedOp, match="changes its buffer 'seen'"):
        gg.from_torch(Counting(), torch.ones(2, 3))
    normed = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)))
    gg.from_torch(normed, torch.ones(2, 4))
    with pytest.raises(UnsupportedOp, match="changes its buffer"):
        gg.from_torch(normed, torch.ones(2, 4), training=True)


def test_whole_channels_are_dropped_where_pytorch_drops_them() -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout2d(0.3))
    model = gg.from_torch(module, torch.ones(2, 2, 5, 5), training=True)
    drop, = (node for node in model.graph if node.op_type == "Dropout")
    assert list(drop.outputs[0].shape)[1:] == [4, 1, 1]
    x = torch.randn(3, 2, 5, 5)
    np.testing.assert_allclose(answers(model, x)[0], module.eval()(x).detach(), atol=1e-5)
    assert "forward" not in vars(module[1])


def test_parts_of_a_tensor_come_in() -> None:
    class Parts(nn.Module):
        def forward(self, x):
            first, second, third = x.chunk(3, -1)
            left, right = x.split([2, 5], -1)
            return first + second, third, left, right, x.unbind(1)[1], x.tensor_split(2, -1)[1]

    x = torch.randn(2, 3, 7)
    model = gg.from_torch(Parts(), x)
    for found, wanted in zip(answers(model, x), Parts()(x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
