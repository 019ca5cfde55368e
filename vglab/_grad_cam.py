"""Grad-CAM: where in an image the last feature maps speak for a class."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vglab._attribution import Attribution, asked, gradient


def grad_cam(
    model: nn.Module,
    inputs: Any,
    target: Any = None,
    *,
    layer: nn.Module | str | None = None,
    relu: bool = True,
    output: str = "logit",
) -> Attribution:
    """Grad-CAM: ``ReLU(Σ_k α_k A_k)`` with ``α_k`` the mean of ``∂f/∂A_k`` over positions.

    Selvaraju et al. 2017, eqs. 1 and 2. A ``[K, h, w]`` are the feature maps of ``layer``. Where a
    linear layer reads their averages over positions, ``α_k = w_k / (h w)``: the class activation
    map of Zhou et al. 2016, eq. 2, divided by the number of positions. The map is resampled
    (bilinearly) to the size of the input. It is a map of the class's support, not of gradients nor
    of anomalies: positions with no influence of their own on f can have large values in it.

    Parameters
    ----------
    model, inputs, target, output
        As in `saliency`; inputs are images ``[N, channels, H, W]``.
    layer
        The module, or its name, whose output is A; where it runs several times, the last. None for
        the last convolution that ran over more than one position, together with the normalisation,
        activation and skip path that follow it: of all modules that end after it with maps of its
        height and width, the last. A network with parallel branches needs ``layer``. In earlier
        layers the mean over positions mixes slopes of both signs, and the map may point anywhere
        (Draelos and Carin 2020).
    relu
        Cut negative values, as the paper does; False keeps the evidence against the class.

    Returns
    -------
    Attribution
        ``values`` ``[N, 1, H, W]``.

    Raises
    ------
    ValueError
        Also: inputs that are no images, no convolution, a layer that is not in the model, did not
        run, or returns no maps.

    Examples
    --------
    >>> grad_cam(ConvNet(1, 10), torch.randn(2, 1, 28, 28)).values.shape
    torch.Size([2, 1, 28, 28])
    """
    with asked(model, inputs, target, output=output, seed=0) as query:
        if query.inputs.ndim != 4:
            raise ValueError(f"inputs must be images [N, C, H, W], got {[*query.inputs.shape]}")
        seen = _Chosen(model, layer) if layer is not None else _Last(model)
        maps, learned = [], []
        for part, rows in query.parts(query.inputs, None):
            seen.maps = None
            # Whatever is frozen, what follows the input has a gradient.
            leaf = part.detach().clone().requires_grad_()
            answer = query.ask(leaf.clone(), rows, tracked=True)
            found = seen.found(len(part))
            slopes = gradient(answer[0], found)
            with torch.no_grad():
                alpha = slopes.mean((2, 3))
                cam = torch.einsum("nk,nkhw->nhw", alpha, found.detach())[:, None]
            size = [*part.shape[2:]]
            cam = functional.interpolate(cam.relu() if relu else cam, size, mode="bilinear")
            maps.append(cam)
            learned.append(answer)
        query.learn(learned)
        return query.answer(torch.cat(maps), "grad_cam")


class _Chosen:
    """Catches the output of one layer; the model goes on with a copy, which it may change."""

    def __init__(self, model: nn.Module, layer: nn.Module | str) -> None:
        parts = dict(model.named_modules())
        if isinstance(layer, str):
            if layer not in parts:
                some = ", ".join(list(parts)[1:9])
                raise ValueError(f"the model has no layer {layer!r}; it has {some}, ...")
            layer = parts[layer]
        if not isinstance(layer, nn.Module):
            raise TypeError(f"layer must be a module or its name, got {type(layer).__name__}")
        if not any(layer is part for part in parts.values()):
            raise ValueError(f"layer must be a part of the model, which this {layer} is not")
        self.maps: Any = None
        layer.register_forward_hook(self._catch)

    def _catch(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        self.maps = output
        return output.clone() if isinstance(output, Tensor) else output

    def found(self, count: int) -> Tensor:
        """Return the feature maps ``[N, K, h, w]`` of the pass that ended."""
        if self.maps is None:
            raise ValueError("layer did not run: choose one that the forward pass calls")
        if not isinstance(self.maps, Tensor) or self.maps.ndim != 4 or len(self.maps) != count:
            came = list(self.maps.shape) if isinstance(self.maps, Tensor) else type(self.maps)
            raise ValueError(f"layer must return maps [{count}, K, h, w], got {came}")
        return self.maps


class _Last:
    """Catches the last maps that have the size of the last convolution's.

    Without copies: if something after them works in place, then the tensor holds the maps, and has
    the gradient, of after it, which are the ones that are looked for.
    """

    def __init__(self, model: nn.Module) -> None:
        self.maps: Any = None
        for module in model.modules():
            convolution = isinstance(module, nn.modules.conv._ConvNd)
            module.register_forward_hook(self._convolved if convolution else self._followed)

    def _convolved(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.ndim == 4 and (self.maps is None or output.shape[2:].numel() > 1):
            self.maps = output

    def _followed(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self.maps is None or not isinstance(output, Tensor) or output.ndim != 4:
            return
        if output.shape[2:] == self.maps.shape[2:]:
            self.maps = output

    def found(self, count: int) -> Tensor:
        """Return the feature maps ``[N, K, h, w]`` of the pass that ended."""
        if self.maps is None:
            raise ValueError("no convolution ran in this model: give layer=, whose maps to weight")
        maps: Tensor = self.maps
        return maps
