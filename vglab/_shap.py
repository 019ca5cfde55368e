"""What the shap library does well, on a copy of the network that it can read."""

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from vglab._attribution import Query

_FUNCTIONS: dict[Any, type[nn.Module]] = {
    torch.relu: nn.ReLU, functional.relu: nn.ReLU, torch.relu_: nn.ReLU, "relu": nn.ReLU,
    "relu_": nn.ReLU, functional.relu_: nn.ReLU, torch.tanh: nn.Tanh, functional.tanh: nn.Tanh,
    "tanh": nn.Tanh, torch.sigmoid: nn.Sigmoid, functional.sigmoid: nn.Sigmoid,
    "sigmoid": nn.Sigmoid,
}  # fmt: skip
_ELEMENTWISE = (
    nn.SiLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Mish, nn.CELU, nn.LogSigmoid, nn.Softsign
)  # fmt: skip
_TOLERANCE = 1e-3
"""DeepLIFT divides differences: sums that agree to this share of the output count as exact."""


class _Picked(nn.Module):
    """One output ``[n, 1]`` of a model, which may be a probability."""

    def __init__(self, model: nn.Module, target: int, output: str) -> None:
        super().__init__()
        self.model, self._target, self._output = model, target, output

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        logits = logits[:, None] if logits.ndim == 1 else logits
        if self._output == "probability":
            logits = logits.softmax(1)
        return logits[:, self._target : self._target + 1]


def deep(query: Query, background: Tensor, output: str) -> tuple[Tensor, None]:
    """DeepExplainer's values ``[N, D]`` (Shrikumar et al. 2017, rescale rule; float64).

    Activations in place, used again or called as functions are converted on the copy; what shap
    cannot follow shows in values that do not sum to the output.

    Raises
    ------
    ValueError
        The values do not add up: some of the network's parts are beyond the method.
    """
    if output != "logit":
        raise ValueError('method="deep" explains logits: use output="logit", or another method')
    import shap

    model = _readable(_copied(query.model))
    values = torch.zeros(query.inputs.flatten(1).shape, dtype=torch.float64)
    strangers: set[str] = set()
    for target in query.target.unique().tolist():
        some = query.target == target
        picked = _Picked(model, target, output).eval()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                explainer = shap.DeepExplainer(picked, background.clone())
                found = explainer.shap_values(query.inputs[some].clone(), check_additivity=False)
            except (RuntimeError, AssertionError, AttributeError, TypeError, KeyError) as error:
                raise ValueError(
                    f"shap's DeepExplainer cannot follow {type(query.model).__name__} ({error}); "
                    'use method="permutation"'
                ) from error
        seen = (str(one.message) for one in caught)
        strangers |= {text.split(": ")[-1] for text in seen if "unrecognized nn.Module" in text}
        values[some.cpu()] = torch.from_numpy(found).double().flatten(1)
        with torch.no_grad():
            before = picked(background.clone()).double().mean()
        gap = (values[some.cpu()].sum(1).to(before) - query.score[some].double() + before).abs()
        scale = query.score.abs().max().double().clamp_min(1.0)
        if not bool((gap <= _TOLERANCE * scale).all()):
            why = f"it does not know {', '.join(sorted(strangers))}" if strangers else (
                "something between its modules is not linear: a function, a product, a norm"
            )  # fmt: skip
            raise ValueError(
                f"shap's DeepExplainer misses {float(gap.max()):.2g} of the output of "
                f"{type(query.model).__name__}: {why}. Use one module for each activation, or "
                'method="permutation"'
            )
    return values.to(query.inputs.device), None


def gradient(
    query: Query, background: Tensor, output: str, samples: int, seed: int
) -> tuple[Tensor, Tensor]:
    """GradientExplainer's values and standard errors ``[N, D]`` (Erion et al. 2021; float64)."""
    import shap

    model = _copied(query.model).float()  # shap mixes the points as float32
    inputs, background = query.inputs.float(), background.float()
    values, errors = [], []
    for i, target in enumerate(query.target.tolist()):
        explainer = shap.GradientExplainer(_Picked(model, target, output).eval(), background)
        try:
            # One at a time: each example starts from the seed, so that a batch changes nothing.
            found, spread = explainer.shap_values(
                inputs[i : i + 1], nsamples=samples, rseed=seed % 2**32, return_variances=True
            )
        except RuntimeError as error:
            raise ValueError(
                f"the model has no gradient with respect to its input ({error}): use "
                'method="permutation"'
            ) from error
        values.append(torch.from_numpy(found).double().flatten())
        # shap divides the points' variance by √n, not n.
        variance = torch.from_numpy(spread[0]).double().flatten() / samples**0.5
        errors.append(variance.sqrt())
    device = query.inputs.device
    return torch.stack(values).to(device), torch.stack(errors).to(device)


def _copied(model: nn.Module) -> nn.Module:
    try:
        copied = copy.deepcopy(model)
    except Exception as error:
        raise ValueError(
            f"shap changes the model, but {type(model).__name__} cannot be copied ({error}): use "
            'method="permutation"'
        ) from error
    for parameter in copied.parameters():
        parameter.grad = None
    return copied


def _readable(model: nn.Module) -> nn.Module:
    """Give every activation a module of its own that is not in place, where that is possible."""
    try:
        traced = fx.symbolic_trace(model)
    except Exception:  # control flow that depends on the input: leave it as it is
        traced = None
    if traced is not None:
        _separate(traced)
        model = traced
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
        if isinstance(module, _ELEMENTWISE):
            # shap knows its rules by the class's name; of functions of one number there is one.
            module.__class__ = type("ReLU", (type(module),), {})
    return model


def _separate(traced: fx.GraphModule) -> None:
    """One module for each call."""
    called: set[str] = set()
    for number, node in enumerate(list(traced.graph.nodes)):
        if node.op == "call_module":
            module = traced.get_submodule(node.target)
            if node.target not in called or next(module.parameters(), None) is not None:
                called.add(node.target)
                continue
            fresh = copy.deepcopy(module)
        elif node.op in ("call_function", "call_method") and node.target in _FUNCTIONS:
            fresh = _FUNCTIONS[node.target]()
        else:
            continue
        name = f"_separate_{number}"
        traced.add_submodule(name, fresh)
        with traced.graph.inserting_before(node):
            node.replace_all_uses_with(traced.graph.call_module(name, node.args[:1]))
        traced.graph.erase_node(node)
    traced.recompile()
