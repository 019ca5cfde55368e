"""The networks of the course: small, plain, and with one ``nn.Module`` for each activation.

An activation is never applied in place, used twice or called in its functional form, so that hooks
(ours, shap's, captum's) see every one of them.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vglab import _checks

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "hard_tanh": nn.Hardtanh,
}
"""Name of each activation function -> a factory of fresh modules that compute it."""

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class MLP(nn.Module):
    """A multilayer perceptron: logits ``[N, C]`` from inputs ``[N, ...]``, flattened to ``[N, D]``.

    Hidden layer l computes ``h_l = φ(norm(W_l h_{l-1} + b_l))``; the last layer is linear.

    Parameters
    ----------
    widths
        Units of every layer, input and output included: ``(784, 128, 10)`` has one hidden layer.
    activation
        A key of `ACTIVATIONS`.
    norm
        Normalisation of the pre-activations: None, "batch" (Ioffe & Szegedy 2015, algorithm 1),
        "layer" (Ba et al. 2016, eq. 3) or "rms" (Zhang & Sennrich 2019, eq. 4).
    residual
        Add the identity, ``h_l = h_{l-1} + φ(…)``, wherever both have the same width
        (He et al. 2016, eq. 1).
    bias
        Give the linear layers a bias.

    Raises
    ------
    ValueError, TypeError
        A width is not a positive integer, fewer than two widths, or an unknown name.

    Examples
    --------
    >>> MLP((784, 128, 10))(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: str = "relu",
        *,
        norm: str | None = None,
        residual: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check_widths("widths", widths, at_least=2)
        _checks.choice("activation", activation, ACTIVATIONS)
        _check_norm(norm)
        self.widths = tuple(map(int, widths))
        self.residual = residual
        self.flatten = nn.Flatten()
        self.hidden = nn.ModuleList(
            nn.Sequential(
                nn.Linear(before, after, bias=bias), *_norm(norm, after), ACTIVATIONS[activation]()
            )
            for before, after in pairwise(self.widths[:-1])
        )
        self.output = nn.Linear(self.widths[-2], self.widths[-1], bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, C]`` of a batch ``[N, ...]`` with ``widths[0]`` values for each example."""
        h: Tensor = self.flatten(x)
        if h.shape[1] != self.widths[0]:
            raise ValueError(
                f"this network takes {self.widths[0]} values for each example, "
                f"got {h.shape[1]} (input of shape {tuple(x.shape)})"
            )
        for layer in self.hidden:
            new = layer(h)
            h = h + new if self.residual and new.shape == h.shape else new
        logits: Tensor = self.output(h)
        return logits


class ConvNet(nn.Module):
    """A convolutional network: logits ``[N, C]`` from images ``[N, in_channels, H, W]``, any size.

    `features` holds a 3x3 convolution, norm and activation for each entry of ``channels``, with 2x2
    max pooling between them; `classifier` is linear in the average over positions, the head for
    which class activation maps are defined (Zhou et al. 2016, section 2).

    Parameters
    ----------
    in_channels, n_classes
        Channels of the input, number of logits.
    channels
        Channels of each convolution.
    activation, norm
        As in `MLP`; "layer" and "rms" normalise over channels and positions of one example.
    """

    def __init__(
        self,
        in_channels: int,
        n_classes: int,
        *,
        channels: Sequence[int] = (16, 32),
        activation: str = "relu",
        norm: str | None = None,
    ) -> None:
        super().__init__()
        _checks.count("in_channels", in_channels)
        _checks.count("n_classes", n_classes)
        _check_widths("channels", channels, at_least=1)
        _checks.choice("activation", activation, ACTIVATIONS)
        _check_norm(norm)
        self.in_channels = in_channels
        layers: list[nn.Module] = []
        for before, after in zip((in_channels, *channels), channels, strict=False):
            if layers:
                layers.append(nn.MaxPool2d(2))
            layers += [nn.Conv2d(before, after, 3, padding=1), *_norm(norm, after, images=True)]
            layers.append(ACTIVATIONS[activation]())
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(channels[-1], n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, C]`` of images ``[N, in_channels, H, W]``."""
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"this network takes images [N, {self.in_channels}, H, W], got {[*x.shape]}"
            )
        logits: Tensor = self.classifier(self.flatten(self.pool(self.features(x))))
        return logits


class SequenceClassifier(nn.Module):
    """A recurrent network: logits ``[N, C]`` from the state after the last step of ``[N, T, D]``.

    Parameters
    ----------
    cell
        "rnn" (tanh; Elman 1990), "lstm" (Hochreiter & Schmidhuber 1997, with forget gates) or
        "gru" (Cho et al. 2014).
    input_size, hidden_size, n_classes
        D, units of the state, number of logits.
    """

    def __init__(self, cell: str, input_size: int, hidden_size: int, n_classes: int) -> None:
        super().__init__()
        _checks.choice("cell", cell, CELLS)
        _checks.count("input_size", input_size)
        _checks.count("hidden_size", hidden_size)
        _checks.count("n_classes", n_classes)
        self.cell = CELLS[cell](input_size, hidden_size, batch_first=True)
        self.output = nn.Linear(hidden_size, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, C]`` of sequences ``[N, T, D]``."""
        if x.ndim != 3 or x.shape[1] == 0 or x.shape[2] != self.cell.input_size:
            raise ValueError(
                f"this network takes sequences [N, T, {self.cell.input_size}] of at least one "
                f"step, got {[*x.shape]}"
            )
        states, _ = self.cell(x)
        logits: Tensor = self.output(states[:, -1])
        return logits


class ImageRMSNorm(nn.Module):
    """Divide each example ``[C, H, W]`` by its root mean square, with a gain for each channel."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """``x / rms(x) * gain`` for ``x`` of shape ``[N, C, H, W]``."""
        scale = torch.rsqrt(x.square().mean((1, 2, 3), keepdim=True) + self.eps)
        return x * scale * self.weight


def weight_layers(model: nn.Module) -> dict[str, Tensor]:
    """Weight matrices and kernels of every linear, convolutional and recurrent layer, by name.

    In the order in which the layers were registered: from the input to the output for the networks
    of this module. A linear or convolutional layer goes by its module's name; a recurrent layer
    gives one entry for each matrix (``cell.weight_ih_l0``, ``cell.weight_hh_l0``). A weight that
    two layers share stands once, under the first name.

    Where a weight is computed from other parameters (weight or spectral normalisation, pruning), it
    is not computed here: in its place stands the parameter that is trained, the direction v of
    weight normalisation say. Norms and gradients are then those of this underlying parameter.

    Raises
    ------
    TypeError, ValueError
        ``model`` is not a Module, has no such layer, or has a lazy one that saw no input yet.
    """
    _checks.module(model)
    found: dict[Tensor, str] = {}
    for name, module in model.named_modules():
        for part in weight_parts(module):
            weight = _trained(module, part)
            if weight is None:
                continue
            if nn.parameter.is_lazy(weight):
                raise ValueError(
                    f"{name or type(module).__name__} has no weights yet: "
                    "run one batch through the model first"
                )
            inner = [] if part == "weight" and name else [part]
            found.setdefault(weight, ".".join([name, *inner] if name else inner))
    if not found:
        raise ValueError(f"{type(model).__name__} has no linear, convolutional or recurrent layer")
    return {name: weight for weight, name in found.items()}


def weight_parts(module: nn.Module) -> list[str]:
    """Names of the weights that a layer has of its own; none for modules that are no layers."""
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return ["weight"]
    if isinstance(module, nn.RNNBase):
        return [part for part in module._flat_weights_names if part.startswith("weight")]
    return ["weight_ih", "weight_hh"] if isinstance(module, nn.RNNCellBase) else []


def _trained(module: nn.Module, part: str) -> nn.Parameter | None:
    """The parameter behind a weight, found without computing the weight."""
    names, owner = (part, f"{part}_orig", f"{part}_v"), module
    if parametrize.is_parametrized(module, part):
        names, owner = ("original", "original1", "original0"), module.parametrizations[part]  # type: ignore[index, assignment]
    known = (owner._parameters.get(name) for name in names)
    return next((parameter for parameter in known if parameter is not None), None)


def _check_widths(argument: str, widths: Sequence[int], at_least: int) -> None:
    if not isinstance(widths, Iterable):
        raise TypeError(f"{argument} must be a sequence of integers, got {widths!r}")
    for width in widths:
        _checks.count(f"every entry of {argument}", width)
    if len(widths) < at_least:
        raise ValueError(f"{argument} needs {at_least} or more entries, got {tuple(widths)}")


def _check_norm(norm: str | None) -> None:
    if norm is not None:
        _checks.choice("norm", norm, _NORMS)


def _norm(norm: str | None, width: int, *, images: bool = False) -> list[nn.Module]:
    return [] if norm is None else [(_IMAGE_NORMS if images else _NORMS)[norm](width)]


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
}
_IMAGE_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "layer": partial(nn.GroupNorm, 1),
    "rms": ImageRMSNorm,
}
