"""Ranks with ties, and their correlation, for many examples at once."""

import torch
from torch import Tensor


def ranks(values: Tensor) -> Tensor:
    """Rank each row ``[N, D]`` from 1 to D, in float64; equal values share the mean of theirs."""
    ordered, order = values.sort(dim=1, stable=True)
    new = torch.ones_like(ordered, dtype=torch.long)
    new[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).long()
    group = new.cumsum(1) - 1
    place = torch.arange(1, values.shape[1] + 1, device=values.device, dtype=torch.float64)
    place = place.expand(values.shape)
    total = torch.zeros(values.shape, dtype=torch.float64, device=values.device)
    count = total.scatter_add(1, group, torch.ones_like(place))
    mean = total.scatter_add(1, group, place) / count.clamp(min=1)
    return torch.empty_like(mean).scatter_(1, order, mean.gather(1, group))


def rank_correlation(a: Tensor, b: Tensor, *, absolute: bool = False) -> Tensor:
    """Spearman's ρ ``[N]`` of values ``[N, ...]``; NaN where those of one are all equal."""
    if not (bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())):
        raise ValueError("values to compare must be finite")
    x, y = ((each.abs() if absolute else each).flatten(1) for each in (a, b.to(a.device)))
    p, q = ranks(x), ranks(y)
    p, q = p - p.mean(1, keepdim=True), q - q.mean(1, keepdim=True)
    # Ranks centre to halves: exactly 0 where all are equal.
    rho: Tensor = (p * q).sum(1) / (p.square().sum(1) * q.square().sum(1)).sqrt()
    return rho.clamp(-1, 1).float()
