"""What every explanation shares: its result, and how a model is asked and given back unchanged."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vglab import _checks
from vglab._first_layer import FirstLayer, first_layer
from vglab._lent import as_inputs, as_target, lent

__all__ = ["Attribution", "Query", "as_inputs", "as_target", "asked", "gradient", "lent"]

OUTPUTS = ("logit", "probability")
VALUES_AT_ONCE, ROWS_AT_ONCE = 2**18, 4096
"""A pass holds at most so many input values, and examples: it bounds memory, and 2**20 took a
convolutional network twice as long."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each feature counts for one output of the model, for each of N examples.

    Attributes
    ----------
    values
        ``[N, *input_shape]`` (Grad-CAM: ``[N, 1, H, W]``), in units of the explained output; of
        methods that return a gradient, in that unit by unit of the input.
    target
        The explained class ``[N]``; 0 for regression.
    method
        Name of the method.
    baseline
        What the values are counted from, ``[N]``: the output at the baseline, or the expected
        output. Additive methods keep ``baseline + values.sum() == output``. None for the others.
    output
        The explained output ``[N]``: a logit, a probability or the prediction of a regression.
    standard_error
        Of each value, shaped like them, where they were estimated by sampling; otherwise None.
    """

    values: Tensor
    target: Tensor
    method: str
    baseline: Tensor | None = None
    output: Tensor | None = None
    standard_error: Tensor | None = field(default=None, repr=False)

    def ranking(self, *, absolute: bool = True) -> Tensor:
        """Flat indices of the features ``[N, D]``, the most important first, ties by position.

        By the size of the values, or, with ``absolute=False``, from the most positive to the most
        negative.
        """
        flat = self.values.flatten(1)
        return torch.sort(
            flat.abs() if absolute else flat, dim=1, descending=True, stable=True
        ).indices


class Query:
    """One question to a model that is lent: which inputs, which class of each, which output.

    `asked` makes it. What it returns is on the model's device, in the model's type of numbers.

    Attributes
    ----------
    inputs
        A checked copy of the examples ``[N, *input_shape]``; the model gets copies of it, which it
        may change in place.
    rows_at_once
        Examples in one pass.
    home
        The device that `answer` moves results to: where the given inputs were.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, target: Tensor | None, output: str
    ) -> None:
        self.model = model
        self.inputs = inputs
        self.home = inputs.device
        self.rows_at_once = max(1, min(ROWS_AT_ONCE, VALUES_AT_ONCE // inputs[0].numel()))
        self._output = output
        self._target = None if target is None else target.to(inputs.device)
        self._score: Tensor | None = None

    @property
    def target(self) -> Tensor:
        """Explained class of each example ``[N]``."""
        if self._score is None:
            self.score  # noqa: B018  (which finds the predicted class, or checks the given one)
        assert self._target is not None
        return self._target

    @property
    def score(self) -> Tensor:
        """Explained output of each example ``[N]``."""
        if self._score is None:
            parts = self.parts(self.inputs, None)
            self.learn([self.ask(part.clone(), rows) for part, rows in parts])
        assert self._score is not None
        return self._score

    def learn(self, seen: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take scores and classes of all inputs from a pass that somebody made anyway."""
        self._score = torch.cat([score.detach() for score, _ in seen])
        self._target = torch.cat([classes for _, classes in seen])

    def scores(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Explained output ``[M]`` of other inputs ``[M, *input_shape]``, without gradients.

        ``rows`` ``[M]`` says which example's class each of them is asked about; None where ``x``
        has one input for each example.
        """
        _ = self.target
        with torch.no_grad():
            return torch.cat([self.ask(part.clone(), at)[0] for part, at in self.parts(x, rows)])

    def gradients(self, x: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Gradient ``[M, *input_shape]`` of the explained output with respect to ``x``.

        At the examples themselves where ``x`` is None; ``rows`` as in `scores`.
        """
        if x is not None:
            _ = self.target  # the examples' class, not that of other inputs
        found, seen = [], []
        for part, at in self.parts(self.inputs if x is None else x, rows):
            leaf = part.detach().clone().requires_grad_()
            score, classes = self.ask(leaf.clone(), at, tracked=True)
            seen.append((score, classes))
            found.append(gradient(score, leaf))
        if x is None and self._score is None:
            self.learn(seen)
        return torch.cat(found)

    def parts(self, x: Tensor, rows: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Cut inputs, and the numbers of the examples they belong to, into passes."""
        if rows is None:
            rows = torch.arange(len(x), device=x.device)
        yield from zip(x.split(self.rows_at_once), rows.split(self.rows_at_once), strict=True)

    def ask(self, x: Tensor, rows: Tensor, tracked: bool = False) -> tuple[Tensor, Tensor]:
        """Scores ``[n]`` and classes ``[n]`` of one pass; the model may change ``x`` in place.

        ``rows`` as in `scores`; gradients can be taken where ``tracked``.
        """
        with torch.set_grad_enabled(tracked):
            logits = self.logits(x)
            if self._target is None:
                classes = logits.argmax(1)
            else:
                classes = self._target[rows]
                if self._score is None and int(classes.max()) >= logits.shape[1]:
                    raise ValueError(
                        f"target must be a class from 0 to {logits.shape[1] - 1}, "
                        f"got {int(classes.max())}"
                    )
            return self.scaled(logits).gather(1, classes[:, None]).squeeze(1), classes

    def scaled(self, logits: Tensor) -> Tensor:
        """What is explained of logits ``[n, C]``: themselves, or their probabilities."""
        if self._output == "logit":
            return logits
        if logits.shape[1] == 1:
            raise ValueError('a model with one output has no probability: use output="logit"')
        return logits.softmax(1)

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``[n, C]`` of one pass (``[n, 1]`` for regression), checked."""
        shape = [*x.shape]
        try:
            logits = self.model(x)
        except Exception as error:
            told = f"{type(self.model).__name__} failed on inputs of shape {shape}"
            if self._score is None and _from_torch(error):
                raise ValueError(f"{told}: {error}") from error
            error.add_note(told)  # what the model or a hook of the user's raises stays what it is
            raise
        if not isinstance(logits, Tensor):
            raise TypeError(f"the model must return a tensor of logits, got {type(logits)}")
        if logits.ndim == 1:
            logits = logits[:, None]
        if logits.ndim != 2 or len(logits) != shape[0] or logits.shape[1] == 0:
            raise ValueError(
                f"the model must return logits [{shape[0]}, C], or [{shape[0]}] for regression, "
                f"got {[*logits.shape]} for inputs {shape}"
            )
        if not bool(torch.isfinite(logits.detach()).all()):
            raise ValueError("the model's output is NaN or infinite: there is nothing to explain")
        return logits

    def answer(self, values: Tensor, method: str, **more: Tensor | None) -> Attribution:
        """Gather the result: ``values`` and ``more`` (baseline, standard_error)."""
        extra = {name: None if one is None else one.to(self.home) for name, one in more.items()}
        return Attribution(
            values.detach().to(self.home), self.target.to(self.home), method,
            output=self.score.to(self.home), **extra,
        )  # fmt: skip

    def shortened(self) -> "tuple[FirstLayer, Query] | None":
        """Find the same question after the model's first linear layer, where it begins with one.

        Its inputs are that layer's pre-activations; see `vglab._first_layer`.
        """
        head = first_layer(self.model, self.inputs)
        if head is None:
            return None
        return head, Query(_Rest(head), head(self.inputs), self.target, self._output)


def _from_torch(error: Exception) -> bool:
    """Find out if torch itself could not work with these inputs, not somebody's code in it."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    within = place is not None and place.tb_frame.f_globals["__name__"].startswith("torch.")
    kinds = (RuntimeError, ValueError, IndexError, TypeError)
    return within and isinstance(error, kinds) and not isinstance(error, torch.OutOfMemoryError)


class _Rest(nn.Module):
    """What follows a model's first layer."""

    def __init__(self, head: FirstLayer) -> None:
        super().__init__()
        self._head = head

    def forward(self, z: Tensor) -> Any:
        return self._head.rest(z)


def gradient(score: Tensor, leaf: Tensor, *, again: bool = False) -> Tensor:
    """Gradient of the sum of ``score`` with respect to ``leaf``: each example's own.

    ``again`` where more gradients of the same pass are wanted.

    Raises
    ------
    ValueError
        The output does not depend differentiably on it.
    """
    found = None
    if score.requires_grad:
        (found,) = torch.autograd.grad(score.sum(), leaf, allow_unused=True, retain_graph=again)
    if found is None:
        raise ValueError(
            "the model's output has no gradient with respect to what is explained: something "
            "between detaches it or is not differentiable"
        )
    return found


@contextmanager
def asked(
    model: nn.Module, inputs: Any, target: Any = None, *, output: str = "logit",
    seed: int | None = None,
) -> Iterator[Query]:  # fmt: skip
    """Check the question, lend the model (see `lent`), and hand out a `Query`.

    Parameters
    ----------
    model, inputs
        The network and the examples ``[N, *input_shape]``.
    target
        None for each example's predicted class; a class; or one for each example.
    output
        "logit" or "probability".
    seed
        See `lent`.

    Examples
    --------
    >>> with asked(model, inputs, target) as query:
    ...     values = query.gradients().abs()
    ...     result = query.answer(values, "saliency")
    """
    _checks.choice("output", output, OUTPUTS)
    if seed is not None:
        _checks.count("seed", seed, at_least=0)
    with lent(model, seed=seed):
        x = as_inputs("inputs", inputs, model)
        query = Query(model, x, as_target(target, len(x)), output)
        if isinstance(inputs, Tensor):
            query.home = inputs.device
        yield query
