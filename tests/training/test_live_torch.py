"""A live PyTorch module trains natively and agrees with itself trained by PyTorch."""

import copy
import os

import numpy as np
import pytest

import ganglion as gg
from ganglion.data.tables import Samples
from ganglion.errors import DataError

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
REQUIRED = bool(os.environ.get("GANGLION_REQUIRE_PEERS"))
torch = pytest.importorskip("torch") if not REQUIRED else __import__("torch")
nn, F = torch.nn, torch.nn.functional

from tests.support.torch_networks import KINDS, ROWS  # noqa: E402

STEPS, RATE = 20, 0.05


def taught(module, inputs, y) -> list[float]:
    """PyTorch's loss of every step of SGD; the module is trained."""
    optimizer = torch.optim.SGD(module.train().parameters(), lr=RATE)
    losses = []
    for k in range(0, len(y), ROWS):
        optimizer.zero_grad()
        loss = F.mse_loss(module(*(x[k:k + ROWS] for x in inputs)), y[k:k + ROWS])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def learned(module, inputs, y) -> list[float]:
    """Our loss of every step; the module is trained."""
    batches = (([x[k:k + ROWS] for x in inputs], y[k:k + ROWS]) for k in range(0, len(y), ROWS))
    same, history = gg.fit(module, batches, loss="mse", epochs=STEPS, steps_per_epoch=1,
                           optimizer=gg.optimizers.SGD(learning_rate=RATE))
    assert same is module
    return history.history["loss"]


@pytest.mark.parametrize("name", KINDS)
def test_a_module_learns_here_as_it_does_in_pytorch(name: str) -> None:
    torch.manual_seed(0)
    ours, inputs = KINDS[name].make(), KINDS[name].inputs(STEPS * ROWS)
    y = torch.randn_like(ours(*inputs))
    theirs = copy.deepcopy(ours)
    np.testing.assert_allclose(learned(ours, inputs, y), taught(theirs, inputs, y), rtol=1e-5)
    wanted = theirs.state_dict()
    for key, found in ours.state_dict().items():
        if found.is_floating_point():
            np.testing.assert_allclose(found, wanted[key], rtol=0, atol=1e-5 * max(
                1.0, float(wanted[key].abs().max())), err_msg=key)


class Mixed(nn.Module):
    """A tied weight, one that is set not to learn, a buffer, a Dropout, and another precision."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.fixed = nn.Linear(4, 4)
        self.fixed.requires_grad_(False)
        self.register_buffer("offset", torch.ones(4))
        self.drop = nn.Dropout(drop)

    def forward(self, x):
        return self.second(self.drop(torch.tanh(self.fixed(self.first(x)) + self.offset)))


X = np.random.default_rng(0).normal(size=(STEPS * ROWS, 4))
SGD = gg.optimizers.SGD(learning_rate=RATE)


def test_only_what_may_learn_does() -> None:
    torch.manual_seed(0)
    ours = Mixed()
    theirs, inputs = copy.deepcopy(ours), torch.from_numpy(X).float()
    taught(theirs, [inputs], inputs)
    _, history = gg.fit(ours, X, X, loss="mse", optimizer=SGD, batch_size=ROWS, shuffle=False)
    tied = {"first.weight", "second.weight"}
    assert len(tied & set(history.trained)) == 1
    assert set(history.trained) - tied == {"second.bias"}
    assert set(history.frozen) == {"fixed.weight", "fixed.bias", "offset"}
    assert ours.first.weight is ours.second.weight
    for name, wanted in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], wanted, rtol=0, atol=1e-5)


def test_a_tied_weight_may_be_set_not_to_learn() -> None:
    module = Mixed()
    module.first.weight.requires_grad_(False)
    _, history = gg.fit(module, X, X, loss="mse", optimizer=SGD)
    assert set(history.trained) == {"second.bias"}


def test_what_drops_in_training_drops_here() -> None:
    torch.manual_seed(0)
    plain = Mixed()
    dropping = copy.deepcopy(plain).eval()
    dropping.drop.p = 0.5

    def losses(module) -> list[float]:
        return gg.fit(copy.deepcopy(module), X, X, loss="mse", optimizer=SGD)[1].history["loss"]

    assert losses(plain) != losses(dropping)
    gg.fit(dropping, X, X, loss="mse", optimizer=SGD)
    assert not any(part.training for part in dropping.modules())


def test_data_come_as_arrays_tensors_samples_and_loaders() -> None:
    torch.manual_seed(0)
    start, x = Mixed(), X.astype(np.float32)
    tensor = torch.from_numpy(x)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(tensor, tensor), batch_size=ROWS)

    def weight(*data: object):
        module = copy.deepcopy(start)
        gg.fit(module, *data, loss="mse", optimizer=SGD, shuffle=False, batch_size=ROWS, epochs=2)
        return module.first.weight.detach().numpy()

    wanted = weight(X, X)
    for data in ((tensor, tensor), ([x], [x]), (x.tolist(), x.tolist()), (Samples(x, x),),
                 (loader,)):
        np.testing.assert_array_equal(weight(*data), wanted)


def test_a_module_of_another_precision_keeps_it() -> None:
    module = nn.Linear(4, 4, dtype=torch.float64)
    gg.fit(module, torch.from_numpy(X), X, loss="mse", optimizer=SGD)
    assert module.weight.dtype == torch.float64


@pytest.mark.parametrize(("x", "y", "said"), [
    (X[:0], X[:0], "expected rows of a batch"), (iter([]), None, "no batch at all"),
    ([3], None, r"expected tuples \(x, y\)"), (X, None, r"expected tuples \(x, y\)")],
    ids=["rows", "batches", "number", "targets"])
def test_data_that_do_not_fit_are_said(x, y, said: str) -> None:
    with pytest.raises(DataError, match=said):
        gg.fit(nn.Linear(4, 4), x, y, loss="mse")


def test_a_loss_must_be_given() -> None:
    with pytest.raises(DataError, match="no loss is given"):
        gg.fit(nn.Linear(4, 4), X, X)


CLASSES = torch.arange(STEPS * ROWS) % 3
LOSSES = {
    "mse": (nn.MSELoss(), torch.randn(STEPS * ROWS, 3)),
    "mae": (nn.L1Loss(), torch.randn(STEPS * ROWS, 3)),
    "smooth": (nn.SmoothL1Loss(), torch.randn(STEPS * ROWS, 3)),
    "huber": (nn.HuberLoss(delta=0.3), torch.randn(STEPS * ROWS, 3)),
    "crossentropy": (nn.CrossEntropyLoss(), CLASSES),
    "binary": (nn.BCEWithLogitsLoss(), F.one_hot(CLASSES, 3).float()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_sgd_of_pytorch_mean_the_same(name: str) -> None:
    torch.manual_seed(0)
    criterion, y = LOSSES[name]
    ours, x = nn.Linear(4, 3), torch.from_numpy(X).float()
    theirs = copy.deepcopy(ours)
    optimizers = [torch.optim.SGD(module.parameters(), lr=RATE, momentum=0.9, nesterov=True)
                  for module in (ours, theirs)]
    for k in range(0, len(x), ROWS):
        optimizers[1].zero_grad()
        criterion(theirs(x[k:k + ROWS]), y[k:k + ROWS]).backward()
        optimizers[1].step()
    gg.fit(ours, x, y, loss=criterion, optimizer=optimizers[0], batch_size=ROWS, shuffle=False)
    np.testing.assert_allclose(ours.weight.detach(), theirs.weight.detach(), rtol=0, atol=1e-5)


MODULE = nn.Linear(4, 3)
SPATIAL = nn.Conv1d(4, 3, 1)


@pytest.mark.parametrize(("module", "options", "said"), [
    (MODULE, {"loss": nn.NLLLoss()}, "NLLLoss has no counterpart"),
    (MODULE, {"loss": nn.MSELoss(reduction="sum")}, "reduction='sum'"),
    (MODULE, {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, "label_smoothing=0.1"),
    (MODULE, {"loss": nn.CrossEntropyLoss(torch.ones(3))}, "weight=tensor"),
    (MODULE, {"loss": nn.SmoothL1Loss(beta=0.5)}, "beta=0.5"),
    (SPATIAL, {"loss": nn.CrossEntropyLoss()}, "classes on the second axis"),
    (MODULE, {"loss": "mse", "optimizer": torch.optim.Adam(MODULE.parameters())},
     "Adam has no exact counterpart"),
    (MODULE, {"loss": "mse", "optimizer": torch.optim.SGD(MODULE.parameters(), weight_decay=0.1)},
     "weight_decay=0.1"),
    (MODULE, {"loss": "mse", "optimizer": torch.optim.SGD([MODULE.bias])}, "all parameters"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_pytorch_means_otherwise_is_named(module, options, said: str) -> None:
    x = X[:, :, None].repeat(2, -1) if module is SPATIAL else X
    with pytest.raises(DataError, match=said):
        gg.fit(module, x, X[:, :3], **options)
