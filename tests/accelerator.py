"""A second device without a GPU: tensors that live elsewhere, and refuse company from the CPU.

torch lets a program register a device of its own. Ours computes on the CPU what it is asked,
in the same precision and order, but its tensors say that they are on `elsewhere:0`; an operation
that is given some of them and some of the CPU's raises what CUDA raises. NumPy can't see them.
So what runs here has not mixed devices, and has the results of the CPU, bit for bit. What this
cannot tell: whether CUDA's kernels round as the CPU's do, how its random generators continue,
and whatever asks for `device.type == "cuda"` in so many words.

`everywhere()` rehearses a whole notebook so: `python constraints/chapters.py NOTEBOOK --elsewhere`.
"""

import contextlib
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch
from torch.utils._pytree import tree_flatten, tree_map

NAME = "elsewhere"
ops = torch.ops.aten
# What CUDA also lets mix: copies between devices, and indices from the CPU.
MOVES = {ops.copy_.default, ops._to_copy.default, ops._copy_from.default}
INDEXED = {ops.index.Tensor, ops.index_put_.default, ops.index_put.default,
           ops._index_put_impl_.default}  # fmt: skip


class Module:
    """What torch asks of a device's module."""

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """There is no generator here to seed: numbers are drawn on the CPU."""

    @staticmethod
    def get_rng_state(device: Any = None) -> torch.Tensor:
        return torch.zeros(0, dtype=torch.uint8)

    @staticmethod
    def set_rng_state(state: torch.Tensor, device: Any = None) -> None:
        """See `manual_seed_all`."""

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0


class Elsewhere(torch.Tensor):
    """A tensor on the other device; `raw` is where its numbers really are."""

    raw: torch.Tensor

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "Elsewhere":
        made = torch.Tensor._make_wrapper_subclass(
            cls, raw.shape, raw.stride(), raw.storage_offset(), dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )  # fmt: skip
        made.raw = raw
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"Elsewhere({self.raw!r})"

    def tolist(self) -> Any:
        """As of CUDA's tensors, which NumPy can't see but lists can."""
        return self.raw.tolist()

    def new_tensor(self, values: Any, *, dtype: torch.dtype | None = None) -> torch.Tensor:
        """A list becomes a tensor here first, as for `__getitem__`."""
        return torch.tensor(values, dtype=dtype or self.dtype).to(self.device)

    def __getitem__(self, index: Any) -> torch.Tensor:
        """Lists become tensors here: inside of torch they would need a kernel in C++."""
        parts = index if isinstance(index, tuple) else (index,)
        made = tuple(torch.tensor(part) if isinstance(part, list) else part for part in parts)
        return super().__getitem__(made if isinstance(index, tuple) else made[0])

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(op, *args, **(kwargs or {}))


def compute(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Do on the CPU what was asked of the other device, if it was asked of that alone."""
    given = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    here = [one for one in given if not isinstance(one, Elsewhere)]
    if op not in MOVES:
        strays = [one for one in here if one.dim() > 0]
        if op in INDEXED:
            strays = [one for one in strays if one.dtype.is_floating_point]
        if strays and len(given) > len(here):
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{NAME}:0 and cpu ({op})"
            )
    place = kwargs.get("device")
    there = place.type == NAME if place is not None else len(given) > len(here)
    if place is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    kwargs.pop("pin_memory", None)
    raw = op(*tree_map(unwrapped, args), **tree_map(unwrapped, kwargs))
    if torch.Tag.inplace_view in op.tags:  # a shape that changes in place changes on the outside
        with no_dispatch():
            op(*args, **kwargs)
    owners = {id(one.raw): one for one in given if isinstance(one, Elsewhere)}
    owners |= {id(one): one for one in here}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in owners:  # written in place
            return owners[id(value)]
        return Elsewhere(value) if there else value

    return tree_map(wrapped, raw)


def unwrapped(value: Any) -> Any:
    return value.raw if isinstance(value, Elsewhere) else value


_kept: list[torch.library.Library] = []


def lstm_cell(ours: Any, theirs: Any, c: Any, *biases: Any) -> tuple[Any, Any, Any]:
    """What the fused kernel of a device computes, in operations that autograd knows."""
    gates = ours + theirs + sum(bias for bias in biases if bias is not None)
    let_in, keep, new, show = gates.chunk(4, 1)
    c = keep.sigmoid() * c + let_in.sigmoid() * new.tanh()
    return show.sigmoid() * c.tanh(), c, gates


def gru_cell(ours: Any, theirs: Any, h: Any, *biases: Any) -> tuple[Any, Any]:
    """The same for the GRU."""
    if biases and biases[0] is not None:
        ours, theirs = ours + biases[0], theirs + biases[1]
    (reset, keep, new), (reset_h, keep_h, new_h) = ours.chunk(3, 1), theirs.chunk(3, 1)
    new = (new + (reset + reset_h).sigmoid() * new_h).tanh()
    return new + (keep + keep_h).sigmoid() * (h - new), ours


def install() -> torch.device:
    """Register the device, once in a process; return it."""
    if not _kept:
        backend_registration._setup_privateuseone_for_python_backend(NAME, Module)
        library = torch.library.Library("_", "IMPL")
        library.fallback(compute, "PrivateUse1")
        cells = torch.library.Library("aten", "IMPL")
        cells.impl("_thnn_fused_lstm_cell", lstm_cell, "AutogradPrivateUse1")
        cells.impl("_thnn_fused_gru_cell", gru_cell, "AutogradPrivateUse1")
        _kept.extend([library, cells])
        # A module's parameters change their device by trading places with new ones.
        torch.__future__.set_swap_module_params_on_conversion(True)
    return torch.device(NAME, 0)


def everywhere() -> None:
    """Let `fit` and `sweep` train there, as they do on a GPU, for the rest of this process.

    For a rehearsal of a chapter: only which device a tensor is on matters, so every training is cut
    to an epoch or to two steps, in this process, and claims that then fail are passed over.
    """
    from vglab import _fit_checks, claims, sweep, train

    there, found = install(), _fit_checks.find_device
    fit, sweeping, state = train.fit, sweep.sweep, claims.claim

    def stated(*given: Any, **options: Any) -> None:
        with contextlib.suppress(claims.ClaimFailed):
            state(*given, **options)

    _fit_checks.find_device = lambda device: there if device == "auto" else found(device)
    train.fit = lambda *given, **how: fit(*given, **how | {"epochs": 1})
    sweep.sweep = lambda *given, **how: sweeping(*given, **how | {"steps": 2, "n_jobs": 1})
    claims.claim = stated
