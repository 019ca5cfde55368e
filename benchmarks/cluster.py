"""Does a sweep survive the loss of a worker? On Dask, on Ray and on joblib's own processes.

`python benchmarks/cluster.py [dask|ray|loky …]` runs the same sweep on two workers of each, kills
one of them with SIGKILL when the first stacks are done, and compares the rows with those of a
sweep in this process. Needs `dask[distributed]` and `ray`, on Linux or macOS.
"""

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import joblib
import pandas as pd
import psutil

from vglab import data, sweep

GRID = {"depth": [4, 6, 8, 10, 12, 14], "lr": [0.01, 0.03, 0.1], "init": ["he"]}
STEPS, SEEDS, AFTER = 44, 20, 4.0

Workers = Callable[[], list[int]]


@contextmanager
def dask() -> Iterator[Workers]:
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        yield lambda: [nanny.pid for nanny in cluster.workers.values()]


@contextmanager
def ray() -> Iterator[Workers]:
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        with joblib.parallel_config(backend="ray", n_jobs=2):
            yield lambda: [process.pid for process in children() if "ray::" in name(process)]
    finally:
        ray.shutdown()


@contextmanager
def loky() -> Iterator[Workers]:
    with joblib.parallel_config(backend="loky", n_jobs=2):
        yield lambda: [process.pid for process in children() if "loky" in name(process)]


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def kill_one(workers: Workers, killed: list[int]) -> None:
    """Wait until a worker computes, let it go on for a while, and kill it."""
    busy: dict[int, float] = {}
    while not killed:
        for pid in workers():
            try:
                busy[pid] = sum(psutil.Process(pid).cpu_times()[:2])
            except psutil.Error:
                continue
            if busy[pid] > AFTER:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend", nargs="*", default=["dask", "ray", "loky"])
    digits = data.load("digits", flatten=True)
    expected = sweep.sweep(GRID, digits, steps=STEPS, seeds=SEEDS)
    print("| backend | rows | killed | rows lost | rows that differ | seconds |")
    print("|---|---|---|---|---|---|")
    for backend in parser.parse_args().backend:
        killed: list[int] = []
        with {"dask": dask, "ray": ray, "loky": loky}[backend]() as workers:
            thread = threading.Thread(target=kill_one, args=(workers, killed), daemon=True)
            thread.start()
            started = time.perf_counter()
            frame = sweep.sweep(GRID, digits, steps=STEPS, seeds=SEEDS)
            seconds = time.perf_counter() - started
        lost = int(frame["error"].notna().sum()) + len(expected) - len(frame)
        differ = int((frame.fillna(0) != expected.fillna(0)).any(axis=1).sum())
        print(f"| {backend} | {len(frame)} | {len(killed)} | {lost} | {differ} | {seconds:.0f} |",
              flush=True)  # fmt: skip
        assert killed, "the sweep was done before a worker could be killed"
        pd.testing.assert_frame_equal(frame, expected)


if __name__ == "__main__":
    main()
