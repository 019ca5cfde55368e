"""How the weights of a network start: the schemes that the literature compares, one function."""

import math

import torch
from torch import Generator, Tensor, nn

from vglab import _checks
from vglab._gaussian import mean_square
from vglab.data import Dataset
from vglab.models import ACTIVATIONS, weight_layers, weight_parts

_LAYERS = nn.Linear | nn.modules.conv._ConvNd | nn.RNNBase | nn.RNNCellBase
# Inputs drawn by torch.randn with the same seed would otherwise be the same numbers as the weights:
# 64 of them raise the first layer's variance by a quarter.
_SEED_OFFSET = 0x1A17
SCHEMES = ("normal", "lecun", "xavier", "he", "orthogonal", "mean_field", "lsuv")


def initialize(
    model: nn.Module,
    scheme: str,
    *,
    activation: str = "relu",
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
    data: Dataset | Tensor | None = None,
    seed: int = 0,
) -> nn.Module:
    """Draw the weights of every linear, convolutional and recurrent layer anew, in place.

    With n_in inputs and n_out outputs of a unit (for a kernel: times its size; each group of a
    convolution and each gate of a recurrent layer by itself), the weights have mean 0 and

    ============  ==========================================  ==============================
    scheme        weights                                     source
    ============  ==========================================  ==============================
    "normal"      normal, variance σ_w², whatever the width   the naive choice
    "lecun"       normal, variance 1 / n_in                   LeCun et al. 1998, section 4.6
    "xavier"      uniform, variance 2 / (n_in + n_out)        Glorot & Bengio 2010, eq. 16
    "he"          normal, variance g² / n_in                  He et al. 2015, eq. 10
    "orthogonal"  σ_w times a random orthogonal matrix        Saxe et al. 2014
    "mean_field"  normal, variance σ_w² / n_in                Poole et al. 2016, section 2
    "lsuv"        orthogonal, then each layer's output        Mishkin & Matas 2016,
                  scaled to variance 1 on ``data``            algorithm 1
    ============  ==========================================  ==============================

    where g² = 1 / E[φ(z)²], z ~ N(0, 1), keeps the second moment (2 for ReLU). The biases of these
    layers are drawn from N(0, σ_b²): zero by default. Other parameters stay as they are. "lsuv"
    leaves recurrent layers orthogonal, and scales biases with their weights.

    Parameters
    ----------
    model
        The network to initialise; its mode, gradients, buffers and device stay as they are.
    scheme
        One of `SCHEMES`.
    activation
        φ for "he", a key of `vglab.models.ACTIVATIONS`.
    sigma_w, sigma_b
        σ_w (for "normal", "orthogonal" and "mean_field") and σ_b.
    data
        For "lsuv": a `Dataset` (its first 256 training examples are used) or inputs ``[N, ...]``.
    seed
        Seed of the draw. The global random state is not touched.

    Returns
    -------
    nn.Module
        ``model`` itself.

    Raises
    ------
    ValueError, TypeError
        Unknown names, a negative or non-finite σ, "lsuv" without data or with data on which a layer
        gives a constant, a model without layers or with weights that are computed from others.
        Whatever "lsuv" raises, the weights are then as they were.
    """
    _checks.choice("scheme", scheme, SCHEMES)
    gains = {"he": he_gain(activation), "lecun": 1.0, "lsuv": 1.0}
    _checks.number("sigma_w", sigma_w, at_least=0)
    _checks.number("sigma_b", sigma_b, at_least=0)
    _checks.count("seed", seed, at_least=0)
    inputs = _inputs(data) if scheme == "lsuv" else None
    layers = weight_layers(model)
    for name, module in model.named_modules():
        if any(part not in module._parameters for part in weight_parts(module)):
            raise TypeError(
                f"the weight of {name or type(module).__name__} is computed from other "
                "parameters; initialize the model before parametrizing or pruning it"
            )
    if inputs is None:
        _fill(model, layers, scheme, gains.get(scheme, sigma_w), sigma_b, seed)
        return model
    own = [p for m in model.modules() if isinstance(m, _LAYERS) for p in m.parameters(False)]
    before = [parameter.detach().clone() for parameter in own]
    try:
        _fill(model, layers, scheme, gains[scheme], sigma_b, seed)
        _scale_outputs_to_unit_variance(model, inputs)
    except BaseException:
        with torch.no_grad():
            for parameter, values in zip(own, before, strict=True):
                parameter.copy_(values)
        raise
    return model


def _fill(
    model: nn.Module,
    layers: dict[str, Tensor],
    scheme: str,
    gain: float,
    sigma_b: float,
    seed: int,
) -> None:
    """Draw every weight and bias."""
    blocks = _blocks(model)
    generator = torch.Generator().manual_seed(int(seed) + _SEED_OFFSET)
    with torch.no_grad():
        for weight in layers.values():
            parts, inputs_first = blocks.get(id(weight), (1, False))
            for block in weight.chunk(parts):
                matrix = block.transpose(0, 1) if inputs_first else block
                drawn = torch.empty(matrix.shape)
                _draw(drawn, scheme, gain, generator)
                matrix.copy_(drawn)
        for bias in _biases(model):
            bias.copy_(torch.empty(bias.shape).normal_(0.0, sigma_b, generator=generator))


def he_gain(activation: str) -> float:
    """Gain g with g² = 1 / E[φ(z)²], z ~ N(0, 1): √2 for ReLU (He et al. 2015, eq. 10)."""
    _checks.choice("activation", activation, ACTIVATIONS)
    return 1 / math.sqrt(mean_square(activation, 1.0))


def _inputs(data: object) -> Tensor:
    """The batch for "lsuv", checked."""
    if data is None:
        raise ValueError('scheme "lsuv" needs data=: a Dataset or a batch of inputs')
    inputs = data.x_train[:256] if isinstance(data, Dataset) else data
    if not isinstance(inputs, Tensor):
        raise TypeError(f"data must be a Dataset or a tensor of inputs, got {type(data).__name__}")
    if inputs.numel() == 0:
        raise ValueError(f"data holds no inputs: its shape is {[*inputs.shape]}")
    _checks.finite("data", inputs)
    return inputs


def _blocks(model: nn.Module) -> dict[int, tuple[int, bool]]:
    """By weight: how many matrices stand below each other in it, and if inputs are its rows."""
    blocks: dict[int, tuple[int, bool]] = {}
    for module in model.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            blocks[id(module.weight)] = module.groups, module.transposed
        elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
            for name, parameter in module.named_parameters(recurse=False):
                if name.startswith(("weight_ih", "weight_hh")):
                    blocks[id(parameter)] = len(parameter) // module.hidden_size, False
    return blocks


def _draw(weight: Tensor, scheme: str, gain: float, generator: Generator) -> None:
    if scheme == "xavier":
        nn.init.xavier_uniform_(weight, generator=generator)
    elif scheme in ("orthogonal", "lsuv"):
        nn.init.orthogonal_(weight, gain, generator=generator)
    else:
        n_in = 1 if scheme == "normal" else weight[0].numel()
        nn.init.normal_(weight, 0.0, gain / math.sqrt(n_in), generator=generator)


def _biases(model: nn.Module) -> list[Tensor]:
    return [
        parameter
        for module in model.modules()
        if isinstance(module, _LAYERS)
        for name, parameter in module.named_parameters(recurse=False)
        if name.startswith("bias")
    ]


def _scale_outputs_to_unit_variance(model: nn.Module, inputs: Tensor) -> None:
    """One forward pass: a hook divides each layer's weight, and its output, by the deviation."""
    done: set[nn.Module] = set()

    def rescale(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if module in done:
            return None
        done.add(module)
        deviation = output.std()
        if not deviation > 0:
            raise ValueError(
                f"a {type(module).__name__} layer gives the same output for all of data; "
                "lsuv needs inputs that vary"
            )
        for parameter in module.parameters(recurse=False):
            parameter.div_(deviation)
        return output / deviation

    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    handles = [layer.register_forward_hook(rescale) for layer in layers]
    modes = {module: module.training for module in model.modules()}
    like = next(model.parameters())
    try:
        with torch.no_grad():
            model.eval()(inputs.to(like.device, like.dtype if inputs.is_floating_point() else None))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
