"""Networks exported by PyTorch learn here as they do there: every weight, over twenty steps."""

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ganglion as gg
from ganglion.errors import DataError

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
REQUIRED = bool(os.environ.get("GANGLION_REQUIRE_PEERS"))
torch = pytest.importorskip("torch") if not REQUIRED else __import__("torch")
nn, F = torch.nn, torch.nn.functional
BATCH, STEPS, RATE, MOMENTUM = 4, 20, 0.05, 0.9


class Residual(nn.Module):
    """Normalisations whose gains and biases are equal before training: exporters join them."""

    shape = (2, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = (nn.Conv2d(n, 4, 3, padding=1, bias=False) for n in (2, 4))
        self.c3, self.fc = nn.Conv2d(4, 4, 3, stride=2), nn.Linear(36, 3)
        self.b1, self.b2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.b3 = nn.BatchNorm2d(4, momentum=0.3, eps=1e-3)

    def forward(self, x):
        x = F.relu(self.b1(self.c1(x)))
        x = F.relu(self.b2(self.c2(x))) + x
        return self.fc(F.relu(self.b3(self.c3(x))).flatten(1))


class Gains(nn.Module):
    """RMSNorm, a Mul with a gain, around gated products."""

    shape = (5, 8)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = (nn.Parameter(torch.ones(8)) for _ in range(2))
        self.up, self.gate = (nn.Linear(8, 12, bias=False) for _ in range(2))
        self.down, self.head = nn.Linear(12, 8, bias=False), nn.Linear(8, 3)

    def norm(self, x, gain):
        return gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    def forward(self, x):
        h = self.norm(x, self.first)
        x = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return self.head(self.norm(x, self.last).mean(1))


class Tokens(nn.Module):
    """A small ViT: patches, a class token, positions, a learned scale of the residual."""

    shape = (2, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(2, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.places = nn.Parameter(torch.randn(1, 5, 8) * 0.02)
        self.scale = nn.Parameter(torch.ones(8) * 0.1)
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        mixed = (self.q(x) @ self.k(x).transpose(1, 2) / 8 ** 0.5).softmax(-1) @ self.v(x)
        return self.head(self.norm((x + self.scale * self.o(mixed))[:, 0]))


class Standardised(nn.Module):
    """Mean and deviation of the input as buffers, and a learned temperature."""

    shape = (2, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor([0.4, 0.5]).view(1, 2, 1, 1))
        self.register_buffer("spread", torch.tensor([0.8, 0.9]).view(1, 2, 1, 1))
        self.conv, self.fc = nn.Conv2d(2, 3, 3), nn.Linear(3, 3)
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        h = F.relu(self.conv((x - self.centre) / self.spread)).mean((2, 3))
        return self.fc(h) * self.temperature


def by_hand(network, x, path: Path) -> None:
    torch.onnx.export(network.train(), x, path, dynamo=False, do_constant_folding=False,
                      training=torch.onnx.TrainingMode.TRAINING)


def by_program(network, x, path: Path) -> None:
    torch.onnx.export(network.train(), (x,), path, dynamo=True, optimize=False, verbose=False,
                      external_data=False)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The exporters' own words are not ours."""
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def rows(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    count = BATCH * STEPS
    return (rng.normal(size=(count, *shape)).astype(np.float32),
            rng.normal(size=(count, 3)).astype(np.float32))


def taught(network, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """PyTorch's weights and statistics after the steps."""
    optimizer = torch.optim.SGD(network.train().parameters(), lr=RATE, momentum=MOMENTUM)
    for k in range(0, len(x), BATCH):
        optimizer.zero_grad()
        wanted = torch.from_numpy(y[k:k + BATCH])
        F.mse_loss(network(torch.from_numpy(x[k:k + BATCH])), wanted).backward()
        optimizer.step()
    return {name: value.detach().numpy() for name, value in network.state_dict().items()
            if value.is_floating_point()}


@pytest.mark.parametrize("export", [by_hand, by_program], ids=["torchscript", "torch.export"])
@pytest.mark.parametrize("kind", [Residual, Gains, Tokens, Standardised],
                         ids=lambda kind: kind.__name__)
def test_every_weight_is_where_pytorch_has_it_after_twenty_steps(
        tmp_path: Path, kind: type, export) -> None:
    x, y = rows(kind.shape)
    torch.manual_seed(0)
    network = kind()
    parameters = {name for name, _ in network.named_parameters()}
    export(network, torch.from_numpy(x[:BATCH]), tmp_path / "net.onnx")
    theirs = taught(network, x, y)
    trained, history = gg.fit(
        gg.load(tmp_path / "net.onnx"), x, y, loss="mse", epochs=1, batch_size=BATCH,
        shuffle=False, optimizer=gg.optimizers.SGD(learning_rate=RATE, momentum=MOMENTUM))
    ours = {name: value.const_value.numpy()
            for name, value in trained.graph.initializers.items() if value.const_value is not None}
    assert parameters <= set(history.trained)
    for name, wanted in theirs.items():
        assert name in history.trained or name in history.frozen, name
        np.testing.assert_allclose(ours[name], wanted, rtol=0, atol=1e-5 * max(
            1.0, float(np.abs(wanted).max())), err_msg=name)
    learned = set(history.trained) - parameters
    assert not learned, f"no parameter of the program: {learned}"


def test_tensors_are_taken_where_no_meaning_is_lost() -> None:
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    net = gg.Sequential([gg.Input((4,)), gg.layers.Dense(2)], name="line")
    tensor = torch.tensor(x)

    def losses(inputs: object) -> list[float]:
        return gg.fit(net, inputs, x[:, :2], loss="mse", epochs=1)[1].history["loss"]

    assert losses(tensor.clone().requires_grad_()) == losses(x)
    assert losses(tensor.to(torch.bfloat16)) == losses(tensor.to(torch.bfloat16).float().numpy())
    for other in (tensor.to_sparse(), torch.conj(torch.complex(tensor, tensor)),
                  torch.empty(16, 4, device="meta")):
        for take in (losses, lambda t: gg.quantize(net, t),
                     lambda t: gg.compile(net, isas=("scalar",), batch=16).session().run(t)):
            with pytest.raises(DataError, match="no array"):
                take(other)
