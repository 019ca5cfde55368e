"""How fast is `vglab.sweep`? A hundred networks of ten layers of 64, five ways, side by side.

`python benchmarks/sweep.py` trains them by RMSprop for 100 steps of 64 digits: with `sweep` on two
threads; with `fit`, one network after the other; with `fit` in two processes of one thread, through
joblib; with `torch.func.vmap` over all of them; and does the bare matrix products of the same
training, the bound of any way here. Rounds are interleaved, so that what else the machine does
falls on all alike. Then: the cost of a network, and the memory, from 10 networks to 1,000.
"""

import argparse
import itertools
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import joblib
import torch
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional

from vglab import data, initialization, models, sweep, train
from vglab.data import Dataset

DEPTH, WIDTH, BATCH, LR = 10, 64, 64, 1e-3
GRID = {"depth": [DEPTH], "width": [WIDTH], "init": ["he"], "optimizer": ["rmsprop"], "lr": [LR]}
STACK = 25


def make(seed: int) -> models.MLP:
    model = models.MLP((64, *(WIDTH,) * DEPTH, 10))
    initialization.initialize(model, "he", seed=seed)
    return model


def alone(seed: int, digits: Dataset, epochs: int) -> float:
    history = train.fit(make(seed), digits, optimizer="rmsprop", lr=LR, epochs=epochs, seed=seed,
                        batch_size=BATCH, device="cpu")  # fmt: skip
    return history.loss[-1].item()


def by_sweep(networks: int, digits: Dataset, epochs: int) -> list[float]:
    steps = epochs * len(digits.x_train) // BATCH
    frame = sweep.sweep(GRID, digits, steps=steps, seeds=networks, batch_size=BATCH, n_jobs=2)
    return frame["final_loss"].tolist()


def by_fit(networks: int, digits: Dataset, epochs: int) -> list[float]:
    return [alone(seed, digits, epochs) for seed in range(networks)]


def by_processes(networks: int, digits: Dataset, epochs: int) -> list[float]:
    with joblib.parallel_config(backend="loky", n_jobs=2, inner_max_num_threads=1):
        jobs = (joblib.delayed(alone)(seed, digits, epochs) for seed in range(networks))
        return joblib.Parallel()(jobs)


def by_vmap(networks: int, digits: Dataset, epochs: int) -> list[float]:
    nets = [make(seed) for seed in range(networks)]
    params, buffers = stack_module_state(nets)
    skeleton = nets[0]

    def loss_of(params, buffers, x, y):
        return functional.cross_entropy(functional_call(skeleton, (params, buffers), (x,)), y)

    slopes = vmap(grad_and_value(loss_of))
    params = {name: value.detach() for name, value in params.items()}
    square = {name: torch.zeros_like(value) for name, value in params.items()}
    orders = [torch.Generator().manual_seed(seed) for seed in range(networks)]
    for _ in range(epochs):
        visits = [torch.randperm(len(digits.x_train), generator=order) for order in orders]
        for batch in torch.stack(visits).split(BATCH, dim=1):
            found, loss = slopes(params, buffers, digits.x_train[batch], digits.y_train[batch])
            for name, g in found.items():
                square[name].mul_(0.99).addcmul_(g, g, value=0.01)
                params[name].addcdiv_(g, square[name].sqrt().add_(1e-8), value=-LR)
    return loss.tolist()


def by_products(networks: int, digits: Dataset, epochs: int) -> list[float]:
    """Three products for each layer but the first, which needs no gradient of its inputs: two."""
    steps, sizes = epochs * len(digits.x_train) // BATCH, [64, *[WIDTH] * DEPTH, 10]

    def stack(_: int) -> None:
        torch.set_num_threads(1)
        pairs = list(itertools.pairwise(sizes))
        h = [torch.ones(STACK, BATCH, size) for size in sizes]
        w = [torch.ones(STACK, above, below) for below, above in pairs]
        for _ in range(steps):
            for i in range(len(w)):
                torch.bmm(h[i], w[i].mT)
                torch.bmm(h[i + 1].mT, h[i])
                if i:
                    torch.bmm(h[i + 1], w[i])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(stack, range(networks // STACK)))
    return []


WAYS: dict[str, Callable[[int, Dataset, int], list[float]]] = {
    "sweep": by_sweep,
    "fit, one after the other": by_fit,
    "fit in two processes": by_processes,
    "torch.func.vmap": by_vmap,
    "bare matrix products": by_products,
}


def compare(rounds: int, networks: int, digits: Dataset, epochs: int) -> None:
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    losses: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        for way, run in WAYS.items():
            torch.set_num_threads(2 if run is by_vmap else 1)
            started = time.perf_counter()
            losses[way] = run(networks if turn else STACK, digits, epochs if turn else 1)
            if turn:  # the first warms up
                seconds[way].append(time.perf_counter() - started)
    print("| way | ms for each network | range | times sweep | largest difference of losses |")
    print("|---|---|---|---|---|")
    for way, times in seconds.items():
        ratio = statistics.median(t / s for t, s in zip(times, seconds["sweep"], strict=True))
        pairs = zip(losses[way], losses["fit, one after the other"], strict=False)
        largest = max((abs(a - b) for a, b in pairs), default=float("nan"))
        ms = [1000 * t / networks for t in times]
        print(f"| {way} | {statistics.median(ms):.1f} | {min(ms):.1f} to {max(ms):.1f} "
              f"| {ratio:.2f} | {largest:.1e} |", flush=True)  # fmt: skip


def grow(networks: int, digits: Dataset, epochs: int, answer: multiprocessing.Queue) -> None:
    torch.set_num_threads(1)
    by_sweep(STACK, digits, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    by_sweep(networks, digits, epochs)
    taken = time.perf_counter() - started
    answer.put((taken, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=100)
    arguments = parser.parse_args()
    full = data.load("digits", flatten=True)
    # 1280 examples: twenty full batches, so that 5 epochs are 100 steps.
    digits = Dataset("digits", full.x_train[:1280], full.y_train[:1280], full.x_test, full.y_test,
                     full.feature_names, full.class_names)  # fmt: skip
    print(f"torch {torch.__version__}, {platform.machine()}, {arguments.rounds} rounds\n")
    compare(arguments.rounds, arguments.networks, digits, epochs=5)
    print("\n| networks | ms for each | memory beyond that of 25 networks, MB |\n|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for networks in (10, 30, 100, 300, 1000):
        answer = context.Queue()
        process = context.Process(target=grow, args=(networks, digits, 1, answer))
        process.start()
        taken, memory = answer.get()
        process.join()
        print(f"| {networks} | {1000 * taken / networks:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
