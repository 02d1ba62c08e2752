"""The kinds of network that PyTorch's users bring come in, compile and answer as they do there."""

import logging
import os

import numpy as np
import pytest

import ganglion as gg

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]
REQUIRED = bool(os.environ.get("GANGLION_REQUIRE_PEERS"))
torch = pytest.importorskip("torch") if not REQUIRED else __import__("torch")

from tests.support.torch_networks import KINDS  # noqa: E402


@pytest.mark.parametrize("name", KINDS)
def test_a_network_answers_as_in_pytorch(name: str) -> None:
    torch.manual_seed(0)
    module, inputs = KINDS[name].make(), KINDS[name].inputs()
    wanted = module.eval()(*inputs).detach().numpy()
    model = gg.from_torch(module.train(), inputs)
    assert not any(isinstance(v.shape[0], int) for v in (*model.graph.inputs, *model.graph.outputs))
    found = gg.compile(model, batch=len(wanted)).session().run(*(t.numpy() for t in inputs))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_one_length_are_reduced_as_pytorch_does(mode: str) -> None:
    bag = torch.nn.EmbeddingBag(9, 4, mode=mode)
    x, weights = torch.randint(0, 9, (5, 3)), torch.rand(5, 3)
    given = (x, None, weights) if mode == "sum" else (x,)
    model = gg.from_torch(bag, given)
    assert "forward" not in vars(bag)
    found = gg.compile(model, batch=5).session().run(*(t.numpy() for t in given if t is not None))
    np.testing.assert_allclose(found, bag(*given).detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("layer", "shape"), [
    (torch.nn.AdaptiveAvgPool2d(2), (2, 7, 5)), (torch.nn.AdaptiveAvgPool2d((3, None)), (2, 7, 5)),
    (torch.nn.AdaptiveAvgPool2d(3), (2, 1, 2)), (torch.nn.AdaptiveAvgPool1d(3), (2, 7)),
    (torch.nn.AdaptiveAvgPool2d(2), (2, 4, 6))], ids=str)
def test_pools_to_a_size_come_in_for_any_input(layer, shape: tuple[int, ...]) -> None:
    x = torch.randn(3, *shape)
    model = gg.from_torch(torch.nn.Sequential(layer), x)
    found = gg.compile(model, batch=3, isas=("scalar",)).session().run(x.numpy())
    np.testing.assert_allclose(found, layer(x), rtol=0, atol=1e-6)


def test_an_export_leaves_logging_as_it_is() -> None:
    before = logging.root.manager.disable
    gg.from_torch(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    assert logging.root.manager.disable == before
