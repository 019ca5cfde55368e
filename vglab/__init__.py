"""Measure how gradients vanish in deep networks, what repairs them, and what a network learned."""

from vglab import (
    claims,
    data,
    diagnose,
    evaluate,
    exercises,
    explain,
    initialization,
    models,
    plot,
    probe,
    sweep,
    theory,
    train,
)

__all__ = [
    "claims",
    "data",
    "diagnose",
    "evaluate",
    "exercises",
    "explain",
    "initialization",
    "models",
    "plot",
    "probe",
    "sweep",
    "theory",
    "train",
]
__version__ = "0.1.0"
