"""Networks that are broken in known ways, and healthy ones, each with its verdict by construction.

An entry makes ``(model, inputs, targets)``. The targets are a linear function of the inputs, so
that every network that can learn does.
"""

from collections.abc import Callable
from functools import partial

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from vglab.initialization import initialize
from vglab.models import MLP, ConvNet, SequenceClassifier

Case = tuple[nn.Module, Tensor, Tensor]
WIDTH, CLASSES = 48, 5


def vectors(n: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, WIDTH, generator=generator)
    return x, (x @ torch.randn(WIDTH, CLASSES, generator=generator)).argmax(1)


def images(size: int = 16, channels: int = 3, n: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    y = torch.randint(CLASSES, (n,), generator=generator)
    patterns = torch.randn(CLASSES, channels, size, size, generator=generator)
    return patterns[y] + 0.3 * torch.randn(n, channels, size, size, generator=generator), y


def sequences(steps: int, n: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, steps, 4, generator=generator)
    return x, (x.mean(1) @ torch.randn(4, CLASSES, generator=generator)).argmax(1)


def mlp(
    depth: int,
    activation: str = "relu",
    scheme: str | None = None,
    sigma_w: float = 1.0,
    change: Callable[[nn.Module], object] | None = None,
    **options: object,
) -> Case:
    torch.manual_seed(0)
    model: nn.Module = MLP((WIDTH,) * depth + (CLASSES,), activation, **options)
    if scheme is not None:
        initialize(model, scheme, activation=activation, sigma_w=sigma_w)
    if change is not None:
        with torch.no_grad():
            change(model)
    return model, *vectors()


def conv(depth: int, activation: str = "relu", sigma_w: float = 2**0.5, norm: bool = False,
         change: Callable[[nn.Module], object] | None = None) -> Case:  # fmt: skip
    torch.manual_seed(0)
    kinds = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    layers: list[nn.Module] = []
    for i in range(depth):
        layers.append(nn.Conv2d(12 if i else 3, 12, 3, padding=1))
        layers += [nn.BatchNorm2d(12)] if norm else []
        layers.append(kinds[activation]())
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, CLASSES)]
    model = initialize(nn.Sequential(*layers, *head), "mean_field", sigma_w=sigma_w)
    if change is not None:
        with torch.no_grad():
            change(model)
    return model, *images(8)


def recurrent(cell: str, steps: int, change: Callable[[nn.Module], object] | None = None) -> Case:
    torch.manual_seed(0)
    model = SequenceClassifier(cell, 4, 24, CLASSES)
    if change is not None:
        with torch.no_grad():
            change(model)
    return model, *sequences(steps)


class Loop(nn.Module):
    """A recurrent cell in a loop of the user's own."""

    def __init__(self, cell: type[nn.RNNCellBase] = nn.RNNCell) -> None:
        super().__init__()
        self.cell, self.output = cell(4, 24), nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 24)
        for step in x.unbind(1):
            h = self.cell(step, h)
        return self.output(h)


class Functional(nn.Module):
    """Functional activations, which no module shows."""

    def __init__(self, depth: int, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.output, self.function = nn.Linear(WIDTH, CLASSES), function

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.function(layer(x))
        return self.output(x)


class Transformer(nn.Module):
    def __init__(self, depth: int, norm_first: bool = True) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 16)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, 0.0, norm_first=norm_first, batch_first=True)
            for _ in range(depth)
        )
        self.output = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.output(x.mean(1))


class Tied(nn.Module):
    """One layer, over and over."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.output = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(40):
            x = torch.tanh(self.layer(x))
        return self.output(x)


class Bare(nn.Module):
    """Attention and feed-forward blocks without skip paths or norms."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.embed, self.output = nn.Linear(4, 16), nn.Linear(16, CLASSES)
        self.attend = nn.ModuleList(
            nn.MultiheadAttention(16, 2, batch_first=True) for _ in range(depth)
        )
        self.feed = nn.ModuleList(nn.Linear(16, 16) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for attend, feed in zip(self.attend, self.feed, strict=True):
            x = torch.relu(feed(attend(x, x, x, need_weights=False)[0]))
        return self.output(x.mean(1))


def seeded(make: Callable[[], nn.Module], data: Callable[[], tuple[Tensor, Tensor]]) -> Case:
    torch.manual_seed(0)
    return make(), *data()


def all_weights(value: float) -> Callable[[nn.Module], object]:
    return lambda model: [p.fill_(value) for p in model.parameters() if p.ndim > 1]


def biases(value: float, part: str = "hidden") -> Callable[[nn.Module], object]:
    return lambda model: [
        p.fill_(value) for n, p in model.named_parameters() if "bias" in n and n.startswith(part)
    ]


def one_weight(value: float) -> Callable[[nn.Module], object]:
    return lambda model: next(p for p in model.parameters() if p.ndim > 1)[0].fill_(value)


def recurrent_scale(factor: float) -> Callable[[nn.Module], object]:
    return lambda model: model.cell.weight_hh_l0.mul_(factor)


def trained(case: Callable[[], Case], steps: int, lr: float) -> Case:
    model, x, y = case()
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model, x, y


def bad_inputs(value: float) -> Case:
    model, x, y = mlp(3)
    x[3, 2] = value
    return model, x, y


P = partial
BROKEN: dict[str, tuple[str, Callable[[], Case]]] = {
    "sigmoid, 50 layers": ("vanishing", P(mlp, 50, "sigmoid")),
    "sigmoid, 10 layers": ("vanishing", P(mlp, 10, "sigmoid")),
    "sigmoid, 8 layers, xavier": ("vanishing", P(mlp, 8, "sigmoid", "xavier")),
    "sigmoid, 20 layers, orthogonal": ("vanishing", P(mlp, 20, "sigmoid", "orthogonal")),
    "relu, 20 layers, torch's default": ("vanishing", P(mlp, 20)),
    "relu, 30 layers, xavier": ("vanishing", P(mlp, 30, "relu", "xavier")),
    "relu, 15 layers, σ_w 0.5": ("vanishing", P(mlp, 15, "relu", "mean_field", 0.5)),
    "tanh, 20 layers, torch's default": ("vanishing", P(mlp, 20, "tanh")),
    "tanh, 12 layers, σ_w 0.3": ("vanishing", P(mlp, 12, "tanh", "mean_field", 0.3)),
    "linear, 15 layers, σ_w 0.5": ("vanishing", P(mlp, 15, "linear", "mean_field", 0.5)),
    "gelu, 20 layers, torch's default": ("vanishing", P(mlp, 20, "gelu")),
    "silu, 20 layers, torch's default": ("vanishing", P(mlp, 20, "silu")),
    "elu, 30 layers, σ_w 0.6": ("vanishing", P(mlp, 30, "elu", "mean_field", 0.6)),
    "leaky, 20 layers, σ_w 0.7": ("vanishing", P(mlp, 20, "leaky_relu", "mean_field", 0.7)),
    "hard tanh, 20 layers, σ_w 0.5": ("vanishing", P(mlp, 20, "hard_tanh", "mean_field", 0.5)),
    "tanh, 8 layers, biases 4": ("vanishing", P(mlp, 8, "tanh", "lecun", change=biases(4.0))),
    "functional sigmoid, 12 layers": (
        "vanishing",
        P(seeded, lambda: Functional(12, torch.sigmoid), vectors),
    ),
    "functional relu, 20 layers": (
        "vanishing",
        P(seeded, lambda: Functional(20, functional.relu), vectors),
    ),
    "convolutions, sigmoid, 10 layers": ("vanishing", P(conv, 10, "sigmoid", 1.0)),
    "convolutions, relu, σ_w 0.6": ("vanishing", P(conv, 12, "relu", 0.6)),
    "convolutions, tanh, σ_w 0.4": ("vanishing", P(conv, 12, "tanh", 0.4)),
    "rnn, 60 steps": ("vanishing", P(recurrent, "rnn", 60)),
    "rnn, 120 steps": ("vanishing", P(recurrent, "rnn", 120)),
    "lstm, 100 steps": ("vanishing", P(recurrent, "lstm", 100)),
    "gru, 100 steps": ("vanishing", P(recurrent, "gru", 100)),
    "rnn cell in a loop, 60 steps": ("vanishing", P(seeded, Loop, P(sequences, 60))),
    "attention without skip paths": ("vanishing", P(seeded, lambda: Bare(6), P(sequences, 8))),
    "one layer applied 40 times": ("vanishing", P(seeded, Tied, vectors)),
    "relu, 20 layers, σ_w 3": ("exploding", P(mlp, 20, "relu", "mean_field", 3.0)),
    "relu, 8 layers, N(0, 1)": ("exploding", P(mlp, 8, "relu", "normal")),
    "linear, 20 layers, σ_w 2": ("exploding", P(mlp, 20, "linear", "mean_field", 2.0)),
    "tanh, 30 layers, σ_w 3": ("exploding", P(mlp, 30, "tanh", "mean_field", 3.0)),
    "leaky, 15 layers, σ_w 4": ("exploding", P(mlp, 15, "leaky_relu", "mean_field", 4.0)),
    "batch norm, relu, 60 layers": ("exploding", P(mlp, 60, "relu", "he", norm="batch")),
    "convolutions, relu, σ_w 4": ("exploding", P(conv, 10, "relu", 4.0)),
    "rnn, weights × 6, 60 steps": ("exploding", P(recurrent, "rnn", 60, recurrent_scale(6.0))),
    "all weights 0": ("dead", P(mlp, 5, change=all_weights(0.0))),
    "all weights 0.1": ("dead", P(mlp, 5, change=all_weights(0.1))),
    "biases -20": ("dead", P(mlp, 5, "relu", "he", change=biases(-20.0))),
    "one layer's biases -20": ("dead", P(mlp, 6, "relu", "he", change=biases(-20.0, "hidden.2"))),
    "convolution with biases -20": ("dead", P(conv, 4, change=biases(-20.0, "2."))),
    "convolutions of 0": ("dead", P(conv, 4, change=all_weights(0.0))),
    "NaN in a weight": ("invalid", P(mlp, 4, change=one_weight(torch.nan))),
    "infinity in a weight": ("invalid", P(mlp, 4, change=one_weight(torch.inf))),
    "NaN in the inputs": ("invalid", P(bad_inputs, torch.nan)),
    "infinity in the inputs": ("invalid", P(bad_inputs, torch.inf)),
    "relu, 40 layers, σ_w 20: overflow": ("invalid", P(mlp, 40, "relu", "mean_field", 20.0)),
    "lstm with NaN": ("invalid", P(recurrent, "lstm", 8, one_weight(torch.nan))),
}

HEALTHY: dict[str, Callable[[], Case]] = {
    "logistic regression": P(mlp, 1),
    "relu, 2 layers, torch's default": P(mlp, 2),
    "sigmoid, 2 layers": P(mlp, 2, "sigmoid"),
    "relu, 10 layers, he": P(mlp, 10, "relu", "he"),
    "relu, 30 layers, he": P(mlp, 30, "relu", "he"),
    "tanh, 20 layers, critical": P(mlp, 20, "tanh", "mean_field", 1.0),
    "tanh, 30 layers, orthogonal": P(mlp, 30, "tanh", "orthogonal", 1.0),
    "linear, 20 layers, orthogonal": P(mlp, 20, "linear", "orthogonal", 1.0),
    "selu, 20 layers, lecun": P(mlp, 20, "selu", "lecun"),
    "gelu, 10 layers, he": P(mlp, 10, "gelu", "he"),
    "leaky, 20 layers, he": P(mlp, 20, "leaky_relu", "he"),
    "layer norm and skip paths, 30 layers": P(
        mlp, 30, "relu", "lecun", norm="layer", residual=True
    ),
    "batch norm, 6 layers": P(mlp, 6, "relu", "he", norm="batch"),
    "trained": P(trained, P(mlp, 3, "relu", "he"), 60, 3e-3),
    "vglab's ConvNet": lambda: seeded(lambda: ConvNet(3, CLASSES, norm="batch"), images),
    "convolutions, he": P(conv, 6),
    "resnet-18": lambda: seeded(
        lambda: torchvision.models.resnet18(weights=None, num_classes=CLASSES), P(images, 32, n=8)
    ),
    "rnn, 5 steps": P(recurrent, "rnn", 5),
    "lstm, 8 steps": P(recurrent, "lstm", 8),
    "gru, 8 steps": P(recurrent, "gru", 8),
    "transformer, norm first, 4 blocks": lambda: seeded(lambda: Transformer(4), P(sequences, 8)),
    "transformer, norm last, 2 blocks": lambda: seeded(
        lambda: Transformer(2, norm_first=False), P(sequences, 8)
    ),
    "functional relu, 3 layers": lambda: seeded(lambda: Functional(3, functional.relu), vectors),
}
