"""Does an explanation need what the network learnt? Its weights drawn anew, layer by layer."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vglab import _checks
from vglab._attribution import Attribution, asked
from vglab._ranks import rank_correlation


@dataclass(frozen=True, eq=False)
class RandomizationTest:
    """What `randomization_test` found.

    Attributes
    ----------
    layers
        Names of the L layers, the output's first: row l comes after layers 0 to l were randomised.
    similarity
        Mean rank correlation ``[L]`` with the original explanation over the examples.
    per_example
        Rank correlations ``[L, N]``; NaN where an explanation is constant, and not in the mean.
    original
        The explanation of the model as it is.
    randomized
        The explanations after each step.
    """

    layers: tuple[str, ...]
    similarity: Tensor
    per_example: Tensor = field(repr=False)
    original: Attribution = field(repr=False)
    randomized: tuple[Attribution, ...] = field(repr=False)


def randomization_test(
    explainer: Callable[..., Attribution],
    model: nn.Module,
    inputs: Any,
    *,
    absolute: bool = False,
    seed: int = 0,
) -> RandomizationTest:
    """Randomise the layers from the output down, and compare each explanation with the original.

    The cascading test of Adebayo et al. 2018: an explanation that stays similar does not depend
    on what the network learnt. Where they initialise anew, a weight is drawn here from
    N(0, s²), s being its root mean square, and other parameters (biases, gains) from a normal with
    their mean and standard deviation: each layer keeps its scale and loses what it learnt, so that
    vanishing signals are not mistaken for lost knowledge. Normalisation goes with the layer before
    it. It happens in a copy of the model.

    Parameters
    ----------
    explainer
        ``explainer(model, inputs) -> Attribution``. Where it has a parameter ``target``, the class
        that the original model predicts is held; otherwise each network explains its own choice.
    model, inputs
        The network and the examples ``[N, *input_shape]``.
    absolute
        Compare sizes instead of signed values. A trap: where inputs have pixels that are always
        zero, as digits do, gradient times input and what resembles it are zero there for any
        weights, and the sizes rank alike by that alone. (A method without signs, like `saliency`,
        has no other comparison.)
    seed
        Seed of the weights.

    Returns
    -------
    RandomizationTest
        ``layers``, ``similarity`` ``[L]``, and what they come from.
    """
    _checks.count("seed", seed, at_least=0)
    with asked(model, inputs, seed=seed) as query:
        x = query.inputs
        twin = copy.deepcopy(model)
        steps = _steps(twin, x)
    if not steps:
        raise ValueError(f"{type(model).__name__} has no weights to randomise")
    original = explained(explainer, model, x, None)
    generator = torch.Generator().manual_seed(seed)
    found, similar = [], []
    for parameters in steps.values():
        _draw(parameters, generator)
        found.append(explained(explainer, twin, x, original.target))
        similar.append(rank_correlation(original.values, found[-1].values, absolute=absolute))
    rows = torch.stack(similar).to(query.home)
    return RandomizationTest(tuple(steps), rows.nanmean(1), rows, original, tuple(found))


def explained(
    explainer: Callable[..., Attribution], model: nn.Module, x: Tensor, target: Tensor | None
) -> Attribution:
    """Call an explainer, for certain classes where it can be told them, and check its answer."""
    try:
        named = "target" in inspect.signature(explainer).parameters
    except (TypeError, ValueError):
        named = False
    more = {"target": target} if named and target is not None else {}
    answer = explainer(model, x.clone(), **more)
    if not isinstance(answer, Attribution):
        raise TypeError(f"the explainer must return an Attribution, got {type(answer).__name__}")
    if len(answer.values) != len(x):
        raise ValueError(f"the explainer returned {len(answer.values)} rows for {len(x)} examples")
    return answer


def _steps(model: nn.Module, x: Tensor) -> dict[str, list[nn.Parameter]]:
    """Parameters of each layer, by its name, the layer that ran last first.

    A layer is a module with matrices or kernels of its own; parameters of modules without belong to
    the layer that ran before them (or to the first). What never runs as a module, and is used by
    its owner, belongs where its owner does.
    """
    ran: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda own, *_: ran.append(own)) for module in model.modules()
    ]
    with torch.no_grad():
        model(x[:1].clone())
    for handle in handles:
        handle.remove()
    last = {module: time for time, module in enumerate(ran)}
    times: dict[str, float] = {}
    for name, module in model.named_modules():
        owner = name.rpartition(".")[0]
        times[name] = last.get(module, times.get(owner, float("inf")))
    parts = dict(model.named_modules())
    steps: dict[str, list[nn.Parameter]] = {}
    early: list[nn.Parameter] = []
    for name in sorted(times, key=times.__getitem__):
        own = [p for p in parts[name].parameters(recurse=False) if p.is_floating_point()]
        if any(p.ndim > 1 for p in own):
            steps[name or type(model).__name__], early = [*early, *own], []
        elif steps:
            next(reversed(steps.values())).extend(own)
        else:
            early += own
    backwards, drawn = {}, set()
    for name, own in reversed(steps.items()):
        # What several layers share is drawn once, with the first of them.
        backwards[name] = [p for p in own if id(p) not in drawn]
        drawn |= {id(p) for p in own}
    return backwards


def _draw(parameters: list[nn.Parameter], generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in parameters:
            values = parameter.double()
            noise = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(values)
            if parameter.ndim > 1:
                parameter.copy_(noise * values.square().mean().sqrt())
            else:
                parameter.copy_(values.mean() + noise * values.std(correction=0))
