"""How fast is `vglab.train.fit`? The documents' network at MNIST's size, side by side.

`python benchmarks/fit.py` trains 784-128-10 for one epoch of 60,000 images in batches of 64, by SGD
and by RMSprop (both lr=0.01), with `fit` and with the three loops that one would write instead. All
start from the same weights, see the same batches in the same order and use as many threads; rounds
are interleaved, so that what else the machine does falls on all of them alike. The images are made
from a seed (ten patterns with noise). Time is that of the epoch, without reading or checking data.
"""

import argparse
import logging
import platform
import statistics
import time
import warnings
from collections.abc import Callable

import lightning
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from vglab import models, train
from vglab.data import Dataset

MEAN, DEVIATION = 0.1307, 0.3081
BATCH, SEED = 64, 0
GOALS = {"per-sample transforms": 6.0, "TensorDataset": 1.5, "Lightning": 2.0}
OPTIMIZERS = {"sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}


class Images(TorchDataset):
    """As torchvision's MNIST: stored bytes, each made a PIL image and transformed when asked."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((MEAN,), (DEVIATION,))]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index].numpy())), int(self.labels[index])


class Lightning(lightning.LightningModule):
    def __init__(self, model: nn.Module, optimizer: str) -> None:
        super().__init__()
        self.model, self.optimizer, self.losses = model, optimizer, []

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        loss = functional.cross_entropy(self.model(batch[0]), batch[1])
        self.losses.append(loss.detach())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return OPTIMIZERS[self.optimizer](self.parameters(), lr=0.01)


def make_images(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    labels = torch.randint(10, (count,), generator=generator)
    patterns = torch.rand(10, 28, 28, generator=generator)
    noise = torch.rand(count, 28, 28, generator=generator)
    return ((0.3 * patterns[labels] + 0.7 * noise) * 255).to(torch.uint8), labels


def order(count: int) -> list[int]:
    """The order in which `fit` visits the examples in its first epoch."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(SEED)).tolist()


def by_fit(model: nn.Module, data: Dataset, optimizer: str) -> tuple[Tensor, float]:
    history = train.fit(model, data, optimizer=optimizer, epochs=1, seed=SEED, device="cpu")
    return history.loss, history.seconds


def by_loop(model: nn.Module, examples: TorchDataset, optimizer: str) -> tuple[Tensor, float]:
    loader = DataLoader(examples, BATCH, sampler=order(len(examples)))
    optimize = OPTIMIZERS[optimizer](model.parameters(), lr=0.01)
    losses = []
    started = time.perf_counter()
    for inputs, targets in loader:
        optimize.zero_grad()
        loss = functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimize.step()
        losses.append(loss.detach())
    return torch.stack(losses), time.perf_counter() - started


def by_lightning(model: nn.Module, examples: TorchDataset, optimizer: str) -> tuple[Tensor, float]:
    loader = DataLoader(examples, BATCH, sampler=order(len(examples)))
    module = Lightning(model, optimizer)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    started = time.perf_counter()
    trainer.fit(module, loader)
    return torch.stack(module.losses), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=60_000)
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    torch.set_num_threads(1)

    pixels, labels = make_images(arguments.examples)
    x = ((pixels[:, None] / 255) - MEAN) / DEVIATION
    names = tuple(map(str, range(784))), tuple(map(str, range(10)))
    data = Dataset("images", x, labels, x[:BATCH], labels[:BATCH], *names)
    ways: dict[str, tuple[Callable[..., tuple[Tensor, float]], object]] = {
        "fit": (by_fit, data),
        "per-sample transforms": (by_loop, Images(pixels, labels)),
        "TensorDataset": (by_loop, TensorDataset(x, labels)),
        "Lightning": (by_lightning, TensorDataset(x, labels)),
    }
    torch.manual_seed(SEED)
    weights = models.MLP((784, 128, 10)).state_dict()
    print(f"torch {torch.__version__}, lightning {lightning.__version__}, "
          f"{platform.machine()}, 1 thread, {arguments.rounds} rounds\n")  # fmt: skip
    print("| optimizer | loop | seconds per 1,000 steps | range | times fit | goal | final loss |")
    print("|---|---|---|---|---|---|---|")
    for optimizer in OPTIMIZERS:
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        losses: dict[str, Tensor] = {}
        for turn in range(arguments.rounds + 1):
            for way, (run, examples) in ways.items():
                model = models.MLP((784, 128, 10))
                model.load_state_dict(weights)
                losses[way], taken = run(model, examples, optimizer)
                if turn:  # the first warms up
                    seconds[way].append(taken / len(losses[way]) * 1000)
        for way, times in seconds.items():
            # Each round's own ratio: what slowed the whole machine down cancels.
            ratio = statistics.median(t / f for t, f in zip(times, seconds["fit"], strict=True))
            print(f"| {optimizer} | {way} | {statistics.median(times):.2f} "
                  f"| {min(times):.2f} to {max(times):.2f} | {ratio:.2f} "
                  f"| {GOALS.get(way, '')} | {losses[way][-1]:.6f} |", flush=True)  # fmt: skip
        largest = max((loss - losses["fit"]).abs().max().item() for loss in losses.values())
        print(f"\n{optimizer}: {len(losses['fit'])} losses, largest difference {largest:.1e}\n")


if __name__ == "__main__":
    main()
