"""What the chapters cost: rounded, and stored in `costs.json` until it changes."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

COSTS = Path(__file__).with_suffix(".json")
STEPS = {"seconds": 5, "cpu_seconds": 5, "memory_mb": 100}
Costs = Mapping[str, Mapping[str, int]]


def cost(measured: Mapping[str, float]) -> dict[str, int]:
    """Round up what a chapter took: seconds to 5, megabytes to 100."""
    return {key: step * max(math.ceil(measured[key] / step), 1) for key, step in STEPS.items()}


def settled(old: Costs, new: Costs) -> dict[str, dict[str, int]]:
    """Return the new costs; a figure that moved by one step of its rounding stays as it was."""
    kept = {name: dict(values) for name, values in old.items()}
    for name, values in new.items():
        before = kept.get(name, {})
        kept[name] = {
            key: before[key] if abs(before.get(key, math.inf) - value) <= STEPS[key] else value
            for key, value in values.items()
        }
    return kept


def write_costs(new: Costs, checkout: Path) -> None:
    """Store what chapters took; forget those that the checkout no longer has."""
    old = json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.exists() else {}
    found = settled(old, new)
    there = {name: found[name] for name in sorted(found) if (checkout / f"{name}.ipynb").exists()}
    COSTS.write_text(json.dumps(there, indent=2) + "\n", encoding="utf-8")
