"""The kinds of network that PyTorch's users bring, small, each with what it is called with."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

ROWS = 4


@dataclass(frozen=True)
class Kind:
    """`make` gives the module; `shape` is that of one row of its input. `tokens`: whole numbers
    below it as input. `more`: the shapes of one row of further inputs."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    tokens: int = 0
    more: tuple[tuple[int, ...], ...] = ()

    def inputs(self, rows: int = ROWS) -> tuple[torch.Tensor, ...]:
        """Drawn inputs of this many rows."""
        x = (torch.randint(0, self.tokens, (rows, *self.shape)) if self.tokens
             else torch.randn(rows, *self.shape))
        return x, *(torch.randn(rows, *shape) for shape in self.more)


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, groups: int = 1,
         act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Convolution, normalisation, activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs), act())


class Head(nn.Sequential):
    """Global average pooling and a product."""

    def __init__(self, inputs: int, outputs: int = 3) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.GELU(), nn.Linear(16, 16), nn.Tanh(),
                         nn.LayerNorm(16), nn.Linear(16, 3))


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 5), nn.Tanh(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 20), nn.Tanh(), nn.Linear(20, 3),
        nn.LogSoftmax(-1))


class Residual(nn.Module):
    """A basic block of ResNet."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(inputs, outputs, 3, stride),
                                  conv(outputs, outputs, act=nn.Identity))
        self.skip = (nn.Identity() if stride == 1 and inputs == outputs
                     else conv(inputs, outputs, 1, stride, act=nn.Identity))

    def forward(self, x):
        return F.relu(self.body(x) + self.skip(x))


def resnet() -> nn.Module:
    return nn.Sequential(conv(3, 8), nn.MaxPool2d(3, 2, 1), Residual(8, 8, 1), Residual(8, 12, 2),
                         Head(12))


class Squeeze(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, act: Callable[[], nn.Module] = nn.ReLU,
                 gate: Callable[[], nn.Module] = nn.Hardsigmoid) -> None:
        super().__init__()
        self.gain = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 4, 1), act(),
                                  nn.Conv2d(4, channels, 1), gate())

    def forward(self, x):
        return x * self.gain(x)


class Inverted(nn.Module):
    """An inverted residual block: MobileNetV2's, MobileNetV3's and EfficientNet's."""

    def __init__(self, inputs: int, outputs: int, stride: int, act: Callable[[], nn.Module],
                 squeeze: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        wide = 2 * inputs
        self.body = nn.Sequential(
            conv(inputs, wide, 1, act=act), conv(wide, wide, 3, stride, wide, act),
            squeeze(wide) if squeeze else nn.Identity(), conv(wide, outputs, 1, act=nn.Identity))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


def mobile(act: Callable[[], nn.Module], squeeze: Callable[[int], nn.Module] | None = None
           ) -> nn.Module:
    return nn.Sequential(conv(3, 8, 3, 2, act=act), Inverted(8, 8, 1, act, squeeze),
                         Inverted(8, 12, 2, act, squeeze), conv(12, 16, 1, act=act),
                         nn.Dropout(0.0), Head(16))


class UNet(nn.Module):
    """One step down and up again, beside a skip."""

    def __init__(self, transposed: bool) -> None:
        super().__init__()
        self.first, self.down = conv(3, 6), nn.Sequential(nn.MaxPool2d(2), conv(6, 10))
        self.up = (nn.ConvTranspose2d(10, 6, 2, 2) if transposed else nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), conv(10, 6)))
        self.last = nn.Conv2d(12, 2, 1)

    def forward(self, x):
        x = self.first(x)
        return self.last(torch.cat([x, self.up(self.down(x))], 1))


class Recurrent(nn.Module):
    """A recurrent layer, batch first, and a product of its last step."""

    def __init__(self, layer: type[nn.RNNBase], **options: object) -> None:
        super().__init__()
        self.layer = layer(5, 6, batch_first=True, **options)
        self.end = nn.Linear(6 * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, x):
        return self.end(self.layer(x)[0][:, -1])


class States(nn.Module):
    """An LSTM whose states are given, the batch in front."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.end = nn.LSTM(5, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x, h, c):
        y, _ = self.lstm(x, (h.transpose(0, 1).contiguous(), c.transpose(0, 1).contiguous()))
        return self.end(y[:, -1])


class Causal(nn.Module):
    """A block of a temporal convolutional network."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.pad = 2 * dilation
        self.conv = nn.Conv1d(inputs, outputs, 3, dilation=dilation)
        self.skip = nn.Conv1d(inputs, outputs, 1)

    def forward(self, x):
        return F.relu(self.conv(F.pad(x, (self.pad, 0))) + self.skip(x))


def tcn() -> nn.Module:
    return nn.Sequential(Causal(4, 6, 1), Causal(6, 6, 2), Causal(6, 6, 4),
                         nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 3))


class Encoder(nn.Module):
    """A transformer's encoder over tokens, with learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.places = nn.Parameter(torch.randn(1, 7, 8) * 0.1)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.end = nn.Linear(8, 3)

    def forward(self, x):
        return self.end(self.layers(self.embed(x) + self.places).mean(1))


class ViT(nn.Module):
    """Patches, a class token, positions, one encoder layer with its norms in front."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8) * 0.1)
        self.places = nn.Parameter(torch.randn(1, 17, 8) * 0.1)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu",
                                                batch_first=True, norm_first=True)
        self.norm, self.end = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.end(self.norm(self.layer(x))[:, 0])


def normed(norm: Callable[[int], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm(8), nn.SiLU(),
                         nn.Conv2d(8, 8, 3, 2, 1), norm(8), nn.SiLU(), Head(8))


def pixel_shuffle() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.PReLU(), nn.Conv2d(6, 4, 3, padding=1),
                         nn.PixelShuffle(2))


class Detection(nn.Module):
    """Boxes and classes of every place, as detectors with one stage give them."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.boxes = nn.Sequential(conv(3, 8, 3, 2), conv(8, 8)), nn.Conv2d(8, 8, 1)
        self.classes = nn.Conv2d(8, 6, 1)

    def forward(self, x):
        x = self.body(x)
        boxes = self.boxes(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4)
        classes = self.classes(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 3)
        return torch.cat([boxes.sigmoid(), classes.softmax(-1)], -1)


def conv3d() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1, bias=False), nn.BatchNorm3d(4), nn.ReLU(),
                         nn.MaxPool3d(2), nn.ConvTranspose3d(4, 4, 2, stride=(2, 1, 1)),
                         nn.AvgPool3d((2, 1, 1)), nn.Conv3d(4, 4, 3), nn.ReLU(),
                         nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3))


class Bag(nn.Module):
    """Means of embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.bag, self.end = nn.EmbeddingBag(20, 8, mode="mean"), nn.Linear(8, 3)

    def forward(self, x):
        return self.end(self.bag(x))


IMAGE = (3, 16, 16)
KINDS = {
    "mlp": Kind(mlp, (3, 4)),
    "lenet": Kind(lenet, (1, 16, 16)),
    "resnet": Kind(resnet, IMAGE),
    "mobilenet_v2": Kind(partial(mobile, nn.ReLU6), IMAGE),
    "mobilenet_v3": Kind(partial(mobile, nn.Hardswish, Squeeze), IMAGE),
    "efficientnet": Kind(partial(mobile, nn.SiLU, partial(Squeeze, act=nn.SiLU, gate=nn.Sigmoid)),
                         IMAGE),
    "unet_transposed": Kind(partial(UNet, True), (3, 8, 8)),
    "unet_upsampling": Kind(partial(UNet, False), (3, 8, 8)),
    "lstm": Kind(partial(Recurrent, nn.LSTM, num_layers=2), (7, 5)),
    "gru": Kind(partial(Recurrent, nn.GRU), (7, 5)),
    "bilstm": Kind(partial(Recurrent, nn.LSTM, bidirectional=True), (7, 5)),
    "lstm_states": Kind(States, (7, 5), more=((1, 6), (1, 6))),
    "tcn": Kind(tcn, (4, 20)),
    "encoder": Kind(Encoder, (7,), tokens=20),
    "vit": Kind(ViT, IMAGE),
    "group_norm": Kind(partial(normed, partial(nn.GroupNorm, 2)), (3, 8, 8)),
    "instance_norm": Kind(partial(normed, partial(nn.InstanceNorm2d, affine=True)), (3, 8, 8)),
    "pixel_shuffle": Kind(pixel_shuffle, (1, 8, 8)),
    "detection": Kind(Detection, IMAGE),
    "conv3d": Kind(conv3d, (1, 8, 8, 8)),
    "embedding_bag": Kind(Bag, (7,), tokens=20),
}
"""The kinds by name."""
