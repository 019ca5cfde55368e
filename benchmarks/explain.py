"""How good are explanations for their time? vglab against shap, captum, lime and scikit-learn.

`python benchmarks/explain.py` explains the same examples of the same two trained networks with each
library, in interleaved rounds, on one thread: the 30 features of "breast_cancer" and 28 x 28 digits
in 40 superpixels, each with 100 background rows. The error of Shapley values is their largest
deviation from the truth as a share of the largest true value, averaged over examples; the truth
comes from 20,000 pairs of opposite orders, which a plain loop here evaluates. The ratio is the time
of the other library over that of the fastest way of vglab with the same or a smaller error. shap is
given a table's rows as they are, and superpixels as a function of masks, for it has no other way. A
second table compares functions that do the same work, lime's explainers made beforehand.
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable

import captum.attr
import numpy as np
import shap
import torch
from lime.lime_image import LimeImageExplainer
from lime.lime_tabular import LimeTabularExplainer
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance
from torch import Tensor, nn

from vglab import data, explain, models, train

BACKGROUND = 100
Way = Callable[[], object]


class Case:
    """A trained network, examples, and the game of their G players on the background."""

    def __init__(self, name: str, examples: int) -> None:
        table = name == "breast_cancer"
        self.data = data.load(name) if table else data.load(name, image_size=28)
        torch.manual_seed(0)
        self.model = models.MLP((30, 64, 64, 2) if table else (784, 128, 10))
        lr = 0.01 if table else 0.003
        train.fit(self.model, self.data, optimizer="adam", lr=lr, epochs=10, device="cpu")
        self.model.eval()
        self.x, self.rows = self.data.x_test[:examples], self.data.x_train[:BACKGROUND]
        row = torch.arange(28)
        grid = (row * 5 // 28)[:, None] * 8 + row * 8 // 28
        self.groups = None if table else grid
        self.of_feature = torch.arange(30) if table else grid.flatten()
        self.players = int(self.of_feature.max()) + 1
        self.target = self.ask(self.x).argmax(1)

    def ask(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model(x.view(-1, *self.x.shape[1:]))

    def mixed(self, i: int, masks: Tensor, rows: Tensor) -> Tensor:
        """Output for the class of example i where masks ``[n, G]`` show it, else other rows."""
        x, other = self.x[i].flatten(), rows.flatten(1)
        shown = masks[:, self.of_feature].bool()
        return self.ask(torch.where(shown, x, other))[:, self.target[i]]

    def mean_of(self, i: int) -> Callable[[object], np.ndarray]:
        """The game's values of many coalitions, for libraries that take functions of masks."""

        def f(masks: object) -> np.ndarray:
            masks = torch.as_tensor(np.asarray(masks))
            parts = [
                self.mixed(
                    i, part.repeat_interleave(BACKGROUND, 0), self.rows.repeat(len(part), 1, 1, 1)
                    if self.rows.ndim == 4 else self.rows.repeat(len(part), 1),
                ).view(len(part), -1).mean(1)
                for part in masks.split(64)
            ]  # fmt: skip
            return torch.cat(parts).double().numpy()

        return f

    def truth(self, pairs: int) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        total = torch.zeros(len(self.x), self.players, dtype=torch.float64)
        steps = torch.arange(self.players + 1)[:, None]
        for _ in range(pairs // BACKGROUND):
            order = torch.rand(BACKGROUND, self.players, generator=generator).argsort(1)
            for rank in (order, self.players - 1 - order):
                masks = rank[:, None] < steps
                rows = self.rows.repeat_interleave(self.players + 1, 0)
                for i in range(len(self.x)):
                    found = self.mixed(i, masks.flatten(0, 1), rows).double()
                    gains = found.view(BACKGROUND, -1).diff(dim=1)
                    total[i] += gains.gather(1, rank).sum(0)
        return total / (2 * BACKGROUND * (pairs // BACKGROUND))

    def players_of(self, values: Tensor) -> Tensor:
        flat = values.flatten(1).double()
        sums = flat.new_zeros(len(flat), self.players)
        return sums.index_add(1, self.of_feature, flat)


def shapley_ways(case: Case, turn: int) -> dict[str, Callable[[], Tensor]]:
    def ours(**more: object) -> Callable[[], Tensor]:
        return lambda: case.players_of(
            explain.shap_values(
                case.model, case.x, case.rows, case.target, groups=case.groups, seed=turn, **more
            ).values
        )

    def each(one: Callable[[int], object]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            np.random.seed(turn)
            torch.manual_seed(turn)
            return torch.stack([
                torch.as_tensor(one(i)).double().flatten() for i in range(len(case.x))
            ])  # fmt: skip

        return run

    players = case.players
    ones, zeros = np.ones((1, players)), np.zeros((1, players))
    groups = case.of_feature.view(1, *case.x.shape[1:])

    table = case.groups is None
    rows = case.rows.numpy() if table else zeros

    def game(i: int) -> Callable[[object], np.ndarray]:
        """What shap is given: a table's rows as they are, of images the masks of superpixels."""
        target = int(case.target[i])
        if table:
            return lambda x: case.ask(torch.from_numpy(np.asarray(x)).float())[:, target].numpy()
        return case.mean_of(i)

    def example(i: int) -> np.ndarray:
        return case.x[i : i + 1].numpy() if table else ones

    def kernel(samples: int) -> Callable[[int], object]:
        return lambda i: shap.KernelExplainer(game(i), rows).shap_values(
            example(i), nsamples=samples, l1_reg=0, silent=True
        )

    def permutation(walks: int) -> Callable[[int], object]:
        def one(i: int) -> object:
            masker = shap.maskers.Independent(rows, max_samples=len(rows))
            explainer = shap.PermutationExplainer(game(i), masker, seed=turn)
            return explainer(
                example(i), max_evals=walks * 2 * players + 1, silent=True
            ).values  # fmt: skip

        return one

    def sampling(samples: int) -> Callable[[int], object]:
        return lambda i: shap.SamplingExplainer(game(i), rows).shap_values(
            example(i), nsamples=samples, silent=True
        )

    def captum_sampling(samples: int) -> Callable[[int], object]:
        def one(i: int) -> Tensor:
            values = captum.attr.ShapleyValueSampling(case.model).attribute(
                case.x[i : i + 1].expand(BACKGROUND, *case.x.shape[1:]), case.rows,
                int(case.target[i]), feature_mask=groups, n_samples=samples,
                perturbations_per_eval=32,
            )  # fmt: skip
            # Each feature of a group has the group's value.
            first = [int((case.of_feature == player).int().argmax()) for player in range(players)]
            return values.detach().flatten(1).mean(0)[first]

        return one

    def captum_kernel(samples: int) -> Callable[[int], object]:
        return lambda i: captum.attr.KernelShap(
            lambda masks: torch.from_numpy(case.mean_of(i)(masks))
        ).attribute(
            torch.from_numpy(ones), torch.from_numpy(zeros), n_samples=samples,
            perturbations_per_eval=64,
        )  # fmt: skip

    return {
        "vglab auto": ours(),
        **{f"vglab permutation {n}": ours(method="permutation", samples=n)
           for n in (4, 16, 25, 50, 100, 500, 800)},
        **{f"vglab kernel {n}": ours(method="kernel", samples=n) for n in (400, 2000)},
        **{f"shap Kernel {n}": each(kernel(n)) for n in (8 * players, 2 * players + 2048)},
        **{f"shap Permutation {n}": each(permutation(n)) for n in (1, 10)},
        "shap Sampling": each(sampling(20 * players)),
        **{f"captum ShapleyValueSampling {n}": each(captum_sampling(n)) for n in (1,)},
        **{f"captum KernelShap {n}": each(captum_kernel(n)) for n in (8 * players,)},
    }  # fmt: skip


def compare_shapley(case: Case, rounds: int, pairs: int) -> None:
    truth = case.truth(pairs)
    largest = truth.abs().amax(1)
    times: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        for way, run in shapley_ways(case, turn).items():
            started = time.perf_counter()
            found = run()
            if turn:  # the first warms up
                times.setdefault(way, []).append(time.perf_counter() - started)
                error = (found - truth).abs().amax(1) / largest
                errors.setdefault(way, []).append(float(error.mean()))
    each = {way: statistics.median(taken) / len(case.x) * 1e3 for way, taken in times.items()}
    error = {way: statistics.mean(seen) for way, seen in errors.items()}
    print("| way | ms an example | error | fastest vglab at that error | ratio |")
    print("|---|---|---|---|---|")
    for way in each:
        fair = [own for own in each if own.startswith("vglab") and error[own] <= error[way]]
        best = min(fair, key=each.__getitem__, default=None)
        row = f"| {way} | {each[way]:.2f} | {error[way]:.2%} | "
        if not way.startswith("vglab"):
            row += "none |" if best is None else f"{best} | {each[way] / each[best]:.1f}"
        else:
            row += "|"
        print(row, "|", flush=True)


class Estimator(ClassifierMixin, BaseEstimator):
    def __init__(self, model: nn.Module) -> None:
        self.model, self.classes_ = model, np.arange(10)

    def fit(self, *_: object) -> "Estimator":
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.model(torch.from_numpy(x)).argmax(1).numpy()


def pairs_of_ways(
    case: Case,
) -> dict[str, tuple[Way, Way, float]]:
    x, y = case.data.x_test.flatten(1), case.data.y_test
    table, several, target = case.groups is None, case.x, int(case.target[0])

    def f(values: np.ndarray) -> np.ndarray:
        return case.ask(torch.from_numpy(values).float()).numpy()

    repeats = 10 if table else 2

    def scikit() -> object:
        return permutation_importance(
            Estimator(case.model), x.numpy(), y.numpy(), n_repeats=repeats
        )

    ways = {
        f"permutation_importance, {x.shape[1]} features": (
            lambda: explain.permutation_importance(case.model, x, y, repeats=repeats),
            scikit, 5.0 if table else 20.0,
        )
    }  # fmt: skip
    if table:
        train_rows = case.data.x_train.double().numpy()
        for cut in (False, True):
            explainer = LimeTabularExplainer(
                train_rows, mode="regression", discretize_continuous=cut, random_state=0
            )
            ways[f"lime_weights, table{', discretised' * cut}"] = (
                lambda cut=cut: explain.lime_weights(
                    case.model, several, case.data.x_train, target, discretize=cut, samples=5000
                ),
                lambda explainer=explainer: [
                    explainer.explain_instance(
                        one.double().numpy(), lambda v: f(v)[:, target], num_samples=5000,
                        num_features=30,
                    )
                    for one in several
                ],
                3.0,
            )  # fmt: skip
    else:
        explainer, segments = LimeImageExplainer(random_state=0), case.groups
        ways["lime_weights, image"] = (
            lambda: explain.lime_weights(
                case.model, several, torch.zeros_like(several), target, segments=segments,
                samples=1000,
            ),
            lambda: [
                explainer.explain_instance(
                    one[0].double().numpy(), lambda v: f(v[..., 0]), labels=(target,),
                    top_labels=None, hide_color=0, num_samples=1000, batch_size=100,
                    segmentation_fn=lambda _: segments.numpy(),
                )
                for one in several
            ],
            3.0,
        )  # fmt: skip
    return ways


def compare_pairs(case: Case, rounds: int) -> None:
    print("\n| function | vglab, ms | other, ms | ratio | goal |\n|---|---|---|---|---|")
    for name, (own, other, goal) in pairs_of_ways(case).items():
        taken = []
        for turn in range(rounds + 1):
            stamps = [time.perf_counter()]
            for run in (own, other):
                run()
                stamps.append(time.perf_counter())
            if turn:
                taken.append((stamps[1] - stamps[0], stamps[2] - stamps[1]))
        a, b = (statistics.median(each) * 1e3 for each in zip(*taken, strict=True))
        ratio = statistics.median(theirs / ours for ours, theirs in taken)
        print(f"| {name} | {a:.1f} | {b:.1f} | {ratio:.1f} | {goal:g} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=20_000)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    versions = f"torch {torch.__version__}, shap {shap.__version__}, captum {captum.__version__}"
    print(f"{versions}, {platform.machine()}, 1 thread, {arguments.rounds} rounds")
    for name in ("breast_cancer", "digits"):
        case = Case(name, arguments.examples)
        print(f"\n{name}: {case.players} players, {BACKGROUND} background rows\n")
        compare_shapley(case, arguments.rounds, arguments.pairs)
        compare_pairs(case, arguments.rounds)


if __name__ == "__main__":
    main()
