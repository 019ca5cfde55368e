"""What do `diagnose` and the probe cost beside training? In training steps, side by side.

`python benchmarks/diagnose.py` takes turns, round by round: one training step (forward, backward,
SGD), one diagnosis, one step under `probe.Probe`. Each round gives its own ratio, so that what else
the machine does falls on all alike. The networks: 50 layers of 64 units, batches of 64; the
documents' 784-128-10; a convolutional network. `fit` is timed with and without `probe_every=10`.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from vglab import train
from vglab.data import from_arrays
from vglab.diagnose import diagnose
from vglab.initialization import initialize
from vglab.models import MLP, ConvNet
from vglab.probe import Probe

GOALS = {"diagnosis": "< 3", "step under a probe": "", "fit, probe_every=10": "< 1.05"}


def networks() -> dict[str, tuple[nn.Module, Tensor, Tensor]]:
    torch.manual_seed(0)
    labels = torch.randint(10, (64,))
    deep = initialize(MLP((64,) * 50 + (10,)), "he")
    return {
        "50 layers of 64": (deep, torch.randn(64, 64), labels),
        "784-128-10": (MLP((784, 128, 10)), torch.randn(64, 784), labels),
        "ConvNet, 32x32": (ConvNet(3, 10, channels=(32, 64)), torch.randn(64, 3, 32, 32), labels),
    }


def taken(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def compare(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Each way's time over that of the first, round by round."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 3):
        for way, run in ways.items():
            spent = taken(run)
            if turn >= 3:  # the first warm up
                seconds[way].append(spent)
    base = next(iter(seconds.values()))
    return {
        way: [t / b for t, b in zip(times, base, strict=True)] for way, times in seconds.items()
    }


def report(network: str, ratios: dict[str, list[float]]) -> None:
    for way, found in list(ratios.items())[1:]:
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"| {network} | {way} | {middle:.2f} | {low:.2f} to {high:.2f} "
              f"| {GOALS[way]} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, 1 thread, {arguments.rounds} rounds\n")
    print("| network | what | times a training step | quartiles | goal |")
    print("|---|---|---|---|---|")
    for name, (model, x, y) in networks().items():
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

        def step(model=model, x=x, y=y, optimizer=optimizer) -> None:
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

        def probed(model=model, step=step) -> None:
            with Probe(model):
                step()

        def diagnosed(model=model, x=x, y=y) -> None:
            diagnose(model, x, y)

        ways = {"step": step, "diagnosis": diagnosed, "step under a probe": probed}
        report(name, compare(ways, arguments.rounds))
        data = from_arrays(x.repeat(20, 1, 1, 1) if x.ndim == 4 else x.repeat(20, 1), y.repeat(20))

        def fitted(model=model, data=data, every=None) -> None:
            train.fit(model, data, lr=1e-4, epochs=1, probe_every=every, device="cpu")

        ways = {"fit": fitted, "fit, probe_every=10": lambda run=fitted: run(every=10)}
        report(name, compare(ways, max(arguments.rounds // 6, 5)))


if __name__ == "__main__":
    main()
