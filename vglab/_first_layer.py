"""A network that begins with a linear layer: change its pre-activations instead of its inputs.

Perturbing one feature j of x changes ``z = W x + b`` by ``(x'_j - x_j) W[:, j]``, so that the first
and often largest product of a network need not be computed again for every perturbed copy.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vglab._borrow import flat


class FirstLayer:
    """The first linear layer of a model that is lent, and a way to run all that follows it.

    Attributes
    ----------
    weight
        ``[H, D]``, D being the size of a flattened input.
    """

    def __init__(self, model: nn.Module, linear: nn.Linear, like: Tensor) -> None:
        self._model, self._linear = model, linear
        # Whatever else looks at the input meets NaN, and `first_layer` sees that it did.
        self._blank = torch.full_like(like[:1], torch.nan)
        self.weight = linear.weight.detach()

    def __call__(self, x: Tensor) -> Tensor:
        """Pre-activations ``[n, H]`` of inputs ``[n, *input_shape]``."""
        bias = None if self._linear.bias is None else self._linear.bias.detach()
        return nn.functional.linear(x.flatten(1), self.weight, bias)

    def rest(self, z: Tensor) -> Any:
        """What the model returns for pre-activations ``[n, H]``, which it may change in place."""
        with self._forward(lambda _: z):
            return self._model(self._blank.expand(len(z), *self._blank.shape[1:]))

    def _forward(self, forward: Callable[[Tensor], Tensor]) -> "_Swap":
        return _Swap(self._linear, forward)


class _Swap:
    """Have one module compute something else for a while."""

    def __init__(self, module: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
        self._own, self._forward = module.__dict__, forward

    def __enter__(self) -> None:
        self._own["forward"] = self._forward

    def __exit__(self, *_: object) -> None:
        del self._own["forward"]


def first_layer(model: nn.Module, x: Tensor) -> FirstLayer | None:
    """Find the linear layer through which alone the model, which is lent, sees its input.

    None where there is no such layer, or where somebody's hooks would notice the short cut. It is
    tried out: with NaN in place of the inputs and the right pre-activations, the rest of the model
    must return what the model returns.

    Parameters
    ----------
    model
        A network in evaluation mode.
    x
        Inputs ``[N, *input_shape]``, at least one.
    """
    if any(
        module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__
        for module in model.modules()
    ):
        return None
    few = x[:4]
    calls: list[tuple[nn.Linear, Tensor]] = []
    try:
        with torch.no_grad():
            linears = [each for each in model.modules() if type(each) is nn.Linear]
            handles = [
                each.register_forward_pre_hook(lambda own, seen: calls.append((own, seen[0])))
                for each in linears
            ]
            try:
                whole = model(few.clone())
            finally:
                for handle in handles:
                    handle.remove()
            if not calls or sum(own is calls[0][0] for own, _ in calls) > 1:
                return None
            linear, seen = calls[0]
            if seen.ndim != 2 or not torch.equal(seen, few.flatten(1)):
                return None
            found = FirstLayer(model, linear, few)
            parts = zip(flat(whole), flat(found.rest(found(few))), strict=True)
            same = all(torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in parts)
    except Exception:  # whatever it is, the whole model meets it again, or works
        return None
    return found if same else None
