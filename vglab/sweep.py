"""Train a network for every combination of settings: many at once, on one machine or on many."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vglab import _checks, _fit_checks, _grid, _stacked, _training
from vglab._grid import DEFAULTS, Run
from vglab.data import Dataset, check

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DEFAULTS", "sweep"]


SHAPE = ("depth", "width", "activation", "norm", "residual", "optimizer")
"""Networks that agree in these can be stacked."""

MEASURED = ("final_loss", "best_loss", "test_accuracy", "gradient_ratio", "diverged", "error")

NOT_NUMBERS = ("diverged", "error", "losses")

MOST_NETWORKS, MOST_WEIGHTS = 32, 1_500_000
"""Limits of a stack: large enough to hide the cost of a call, small enough to stay in cache."""

MORE_ON_A_GPU = 64
"""Where calls cost more, arithmetic less, and memory is one: so many times these limits."""


def sweep(
    grid: Mapping[str, Sequence[Any]],
    data: Dataset,
    *,
    steps: int,
    seeds: int | Iterable[int] = 1,
    batch_size: int = 64,
    probe_every: int | None = None,
    losses: bool = False,
    n_jobs: int = 1,
    progress: bool = False,
) -> "pd.DataFrame":
    """Train a perceptron for every combination in ``grid`` and every seed; one row for each.

    Each row is what `vglab.train.fit` gives for that network by itself, to the rounding of float32:
    the same initial weights, the same batches, the same updates. Networks that agree in depth,
    width, activation, norm, residual and optimizer are trained as one stacked computation; what
    diverges in one does not touch the others.

    Parameters
    ----------
    grid
        Values to try for each of these keys; a key that is missing has one value, its default.

        - of the network: ``depth`` (hidden layers; 1), ``width`` (units in each; 64),
          ``activation``, ``norm``, ``residual`` (see `vglab.models.MLP`);
        - of its weights: ``init`` (a scheme of `vglab.initialization`; None for torch's own, drawn
          after ``torch.manual_seed(seed)``; if missing, "mean_field" where the grid has ``sigma_w``
          or ``sigma_b``, else None), ``sigma_w``, ``sigma_b``;
        - of the training: ``optimizer`` (a name), ``lr``, ``momentum``, ``clip_norm``
          (see `vglab.train.fit`).
    data
        Inputs (flattened) and targets; see `vglab.data`.
    steps
        Steps of training; the order of examples starts anew with each pass, as in `fit`.
    seeds
        How many seeds, counted from 0, or the seeds themselves: of the weights and of the order.
    batch_size
        Examples in each step.
    probe_every
        Measure the gradients every so many steps; by default at the first step alone.
    losses
        Also return the loss of every training step, as the learning curve.
    n_jobs
        How many stacks joblib trains at a time, in threads by default. Inside
        ``joblib.parallel_config(backend=…)`` they go where it says, to Dask's or Ray's workers say.
        Results do not depend on it.
    progress
        Show a progress bar over stacks.

    Returns
    -------
    pandas.DataFrame
        In the order of ``itertools.product`` over the grid's values and the seeds: the grid's
        columns and ``seed``; ``final_loss`` and ``best_loss``, the last and the least loss of a
        training step; ``test_accuracy`` after the last (NaN for regression); ``gradient_ratio``,
        the gradient norm of the first weight layer over that of the last, at the last probed step;
        ``diverged``, whether a loss or an output was not finite; ``error``, what went wrong where
        the network could not be trained (then NaN in the others), else None. With ``losses``, one
        column more: ``losses``, an array ``[steps]``, each loss before its step as in
        `vglab.train.History` (None where the network could not be trained).

    Raises
    ------
    ValueError, TypeError
        Before any work: an unknown key, a value out of range, an empty list, data that are not
        usable. Combinations that `fit` refuses are reported in their rows.

    Examples
    --------
    >>> sweep({"depth": [2, 8], "lr": [0.1, 0.3]}, data.load("digits"), steps=100, seeds=5)
    """
    settings = _grid.settings(grid)
    check(data)
    _checks.count("steps", steps)
    _checks.count("batch_size", batch_size)
    if probe_every is not None:
        _checks.count("probe_every", probe_every)
    _checks.count("n_jobs", n_jobs, at_least=-(2**31))
    if n_jobs == 0:
        raise ValueError("n_jobs must be a positive number, or -1 for every core; got 0")
    runs = [
        dict(zip(settings, values, strict=True)) | {"seed": seed}
        for *values, seed in itertools.product(*settings.values(), _grid.seeds(seeds))
    ]
    work = _Work(data, int(steps), int(batch_size), probe_every, losses)
    rows: list[Run] = [{} for _ in runs]
    stacks = [(places, [runs[place] for place in places]) for places in _stacks(runs, data)]
    for places, measured in _everywhere(work, stacks, n_jobs, progress):
        for place, row in zip(places, measured, strict=True):
            rows[place] = row
    return _frame(runs, rows, [*grid, "seed"], [*MEASURED, "losses"] if losses else MEASURED)


@dataclass(frozen=True, eq=False)
class _Work:
    """What every stack has in common; sent to the workers."""

    data: Dataset
    steps: int
    batch_size: int
    probe_every: int | None
    losses: bool

    def __call__(self, places: list[int], networks: list[Run]) -> tuple[list[int], list[Run]]:
        with _training.threads(1):  # networks this small need no more
            return places, self._train(networks)

    def _train(self, networks: list[Run]) -> list[Run]:
        try:
            for network in networks:
                _fit_checks.check_arguments(
                    network["optimizer"], network["lr"], 1, self.batch_size, 0.0,
                    network["momentum"], network["clip_norm"], self.probe_every, network["seed"],
                )  # fmt: skip
            return _stacked.train(
                networks, self.data, steps=self.steps, batch_size=self.batch_size,
                probe_every=self.probe_every, losses=self.losses,
            )  # fmt: skip
        except Exception as error:
            if len(networks) > 1:  # one of them, or all: each by itself will tell
                return [row for network in networks for row in self._train([network])]
            return [{"error": f"{type(error).__name__}: {error}"}]


def _stacks(runs: Sequence[Run], data: Dataset) -> list[list[int]]:
    """Places of the runs that are trained together."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(tuple(run[key] for key in SHAPE), []).append(place)
    stacks = []
    more = 1 if _fit_checks.find_device("auto").type == "cpu" else MORE_ON_A_GPU
    for group in groups.values():
        places = sorted(group, key=lambda place: runs[place]["lr"])  # one η after the other
        sizes = itertools.pairwise(_stacked.widths(runs[places[0]], data))
        most = more * MOST_WEIGHTS // sum(below * above for below, above in sizes)
        count = math.ceil(len(places) / max(1, min(more * MOST_NETWORKS, most)))
        bounds = [len(places) * i // count for i in range(count + 1)]
        stacks += [places[a:b] for a, b in itertools.pairwise(bounds)]
    return stacks


def _everywhere(
    work: _Work, stacks: list[tuple[list[int], list[Run]]], n_jobs: int, progress: bool
) -> Iterator[tuple[list[int], list[Run]]]:
    """What became of each stack, as joblib gets them done.

    A stack's own failure is in its rows. Any other is of the machinery, a killed worker say: what
    it left undone is tried again, at last one stack at a time, so that one which kills its worker
    takes no other with it.
    """
    if progress:
        from tqdm.auto import tqdm
    else:  # the other one warns, in a notebook without widgets, as soon as it is imported
        from tqdm import tqdm
    done: set[int] = set()
    lost: Exception | None = None
    with tqdm(total=len(stacks), desc="stacks", disable=not progress) as bar:
        for together in (True, True, False):
            waiting = [stack for stack in stacks if stack[0][0] not in done]
            for some in [waiting] if together else [[stack] for stack in waiting]:
                try:
                    for places, measured in _parallel(work, some, n_jobs):
                        done.add(places[0])
                        bar.update()
                        yield places, measured
                except Exception as error:
                    lost = error
    for places, _ in stacks:
        if places[0] not in done:
            row = {"error": f"its worker was lost three times ({type(lost).__name__}: {lost})"}
            yield places, [row] * len(places)


def _parallel(
    work: _Work, stacks: list[tuple[list[int], list[Run]]], n_jobs: int
) -> Iterable[tuple[list[int], list[Run]]]:
    import joblib

    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    parallel = joblib.Parallel(
        n_jobs=None if n_jobs == 1 else n_jobs,  # None: one, or what joblib.parallel_config says
        prefer="threads",
        return_as="generator_unordered" if backend.supports_return_generator else "list",
    )
    results: Iterable[tuple[list[int], list[Run]]] = parallel(
        joblib.delayed(work)(*stack) for stack in stacks
    )
    return results


def _frame(
    runs: Sequence[Run], rows: Sequence[Run], columns: Sequence[str], measured: Sequence[str]
) -> "pd.DataFrame":
    import pandas as pd

    failed: Run = {key: None if key in NOT_NUMBERS else math.nan for key in measured}
    full = [
        {column: run[column] for column in columns} | failed | row
        for run, row in zip(runs, rows, strict=True)
    ]
    return pd.DataFrame({
        # None stays None, which pandas would otherwise read as NaN, among strings or numbers.
        column: pd.Series(values, dtype=object if any(v is None for v in values) else None)
        for column in full[0]
        if (values := [row[column] for row in full])
    })  # fmt: skip
