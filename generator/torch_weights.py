"""Weights on disk: loaded without running code, found inside what a training saved, and held against the module they are for."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.errors import CheckpointError
from generator.file_kind import unreadable
from generator.nearest import listed

if TYPE_CHECKING:
    import torch

    State = Mapping[str, torch.Tensor]

#: How many names an error message shows of each kind.
_SHOWN = 5
#: How deep state dicts are looked for: `ema.module` is two.
_DEPTH = 3


def load(path: Path, trust: bool = False) -> Any:
    """What torch.save wrote; without trust only tensors, containers and plain values (torch.load with weights_only).

    Raises CheckpointError for a file that would run code, of another format, or cut short; with trust also ImportError and
    AttributeError where a class that the file names is not there.
    """
    import warnings

    import torch

    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=not trust, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if trust or wanted is None:
            raise unreadable(path, "a PyTorch checkpoint", error) from None
        raise CheckpointError(
            f"{path}: loading it would run code from the file ({wanted.group(1)})",
            "save the weights alone where it was trained: torch.save(model.state_dict(), path); "
            "or, if you trust whoever made it, say `trust_checkpoint: true`",
        ) from None
    except (ImportError, AttributeError) as error:
        if trust:
            raise
        raise unreadable(path, "a PyTorch checkpoint", error) from None
    except Exception as error:
        raise unreadable(path, "a PyTorch checkpoint", error) from None


def _harmless() -> list[Any]:
    """Beside torch's own types, what trainings save with weights and what holds values only: options, paths, NumPy numbers."""
    import argparse
    import pathlib

    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    scalars = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    paths = [(pathlib.PosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")]
    dtypes = [kind for name, kind in vars(np.dtypes).items() if name.endswith("DType") and name != "ObjectDType"]
    return [argparse.Namespace, *paths, np.dtype, *scalars, *dtypes]


def load_safetensors(path: Path) -> State:
    """Names and tensors, mapped from the file. Raises CheckpointError for one of another format, or cut short."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: State = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise unreadable(path, "a safetensors file", error) from None
    return found


def class_missing(path: Path, error: BaseException) -> CheckpointError:
    """For a trusted file that names a class which cannot be imported."""
    if isinstance(error, ModuleNotFoundError):
        return CheckpointError(
            f"{path}: it was saved with the module {error.name}, which is not here", _install(error.name or "")
        )
    return CheckpointError(f"{path}: a class that it was saved with is not there: {_first(error)}", "name the file that has it")


def _install(module: str) -> str:
    return f"pip install {module.partition('.')[0]}, or say where its sources lie (`kind: pickled` has `classes`)"


def _first(error: BaseException | str) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def state_dicts(loaded: Any) -> dict[str, State]:
    """Where in a checkpoint state dicts lie: dotted key -> names and tensors; "" where it is one itself."""
    return dict(_search(loaded, "", _DEPTH))


def _search(value: Any, key: str, depth: int) -> Iterable[tuple[str, State]]:
    if is_state_dict(value):
        yield key, value
    elif isinstance(value, Mapping) and depth:
        for name, inner in value.items():
            if isinstance(name, str) and not _of_training(name):
                yield from _search(inner, f"{key}.{name}".lstrip("."), depth - 1)


def _of_training(name: str) -> bool:
    """Do optimizer, scheduler or scaler lie there? Their tensors are no weights."""
    return bool(re.search(r"optim|sched|scaler", name.lower()))


def is_state_dict(value: Any) -> bool:
    """Names and tensors, at least one of them more than a number."""
    import torch

    if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) for name in value):
        return False
    tensors = [inner for name, inner in value.items() if not name.endswith("_extra_state")]
    return all(isinstance(t, torch.Tensor) for t in tensors) and any(t.ndim for t in tensors)


def is_ema(name: str) -> bool:
    """Is it the moving average of the weights, by what trainings call it: `ema`, `state_dict_ema`, `model_ema`, `ema_model.`?"""
    return bool({"ema", "swa", "averaged"} & set(re.split(r"[^a-z]+", name.lower())))


def choose(path: Path, loaded: Any, key: str | None, prefix: str | None) -> State:
    """The state dict at `key`, or the only one; its names without `prefix`, those that lack it left out.

    Raises CheckpointError naming what is there, moving averages (EMA) marked.
    """
    found = state_dicts(loaded)
    if key is not None:
        state = at(path, loaded, key)
        if not is_state_dict(state):
            raise CheckpointError(f"{path}: {key!r} is not a state dict; it is {described(state)}", _where(found, "there is"))
    elif len(found) == 1:
        state = next(iter(found.values()))
    elif found:
        raise CheckpointError(f"{path}: it holds {len(found)} state dicts", _where(found, "choose one with"))
    else:
        raise CheckpointError(f"{path}: not a state dict; it is {described(loaded)}", "is this the right file?")
    return _without(path, state, prefix)


def at(path: Path, loaded: Any, key: str) -> Any:
    """What lies at a key, dotted for one within another; a key that holds dots itself is found too."""
    value, rest = loaded, key
    while rest:
        names = [name for name in value if isinstance(name, str)] if isinstance(value, Mapping) else []
        hit = max((n for n in names if rest == n or rest.startswith(f"{n}.")), key=len, default=None)
        if hit is None:
            inside = f" in {key.removesuffix(rest).rstrip('.')!r}" if rest != key else ""
            raise CheckpointError(
                f"{path}: no key {rest!r}{inside}; found {described(value)}", _where(state_dicts(loaded), "there is")
            )
        value, rest = value[hit], rest[len(hit) + 1 :]
    return value


def _where(found: Mapping[str, State], verb: str) -> str:
    if "" in found:
        return "remove checkpoint.key: the file itself is a state dict"
    named = [f"`key: {key}` ({'EMA, ' if is_ema(key) else ''}{len(state)} tensors)" for key, state in found.items() if key]
    return f"{verb} {', '.join(named)}" if named else f"{verb} checkpoint.key"


def described(value: Any) -> str:
    """`a dict with epoch, model`; `a whole module, Net (`kind: pickled`)`."""
    import torch

    if isinstance(value, Mapping):
        return f"a dict with {listed(map(str, value))}"
    if isinstance(value, torch.nn.Module):
        return f"a whole module, {type(value).__name__} (`kind: pickled`)"
    return f"a tensor {list(value.shape)}" if isinstance(value, torch.Tensor) else f"of type {type(value).__name__}"


def _without(path: Path, state: State, prefix: str | None) -> State:
    if not prefix:
        return state
    chosen = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    if not chosen:
        raise CheckpointError(
            f"{path}: no weight's name begins with {prefix!r}; names are {listed(state)}", "correct checkpoint.prefix"
        )
    return chosen


def fit(path: Path, module: torch.nn.Module, state: State) -> None:
    """Load the weights, every one. Raises CheckpointError with the first that are missing, too many or of another shape."""
    own = module.state_dict()
    tied = _tied(own, state)
    missing = [name for name in own if name not in state and name not in tied]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} is {list(state[name].shape)}, expected {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    found = [
        f"{title} ({len(names)}): {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for title, names in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes))
        if names
    ]
    if found:
        raise CheckpointError(f"{path}: does not fit the module: {'; '.join(found)}", _remedy(own, state))
    filled = {**{name: state[there] for name, there in tied.items()}, **state}
    module.load_state_dict(filled, assign=_as_they_are(own, filled))


def _as_they_are(own: State, state: State) -> bool:
    """May the module hold the file's own tensors, mapped, not copies? Where its types are those and none of its own is shared."""
    alone = [tensor.data_ptr() for tensor in own.values() if tensor.numel()]
    return len(set(alone)) == len(alone) and all(state[name].dtype == tensor.dtype for name, tensor in own.items())


def _tied(own: State, state: State) -> dict[str, str]:
    """Names that the file leaves out because the module shares their tensor with another: the other's name."""
    first: dict[int, str] = {tensor.data_ptr(): name for name, tensor in own.items() if name in state and tensor.numel()}
    return {name: first[t.data_ptr()] for name, t in own.items() if name not in state and t.numel() and t.data_ptr() in first}


def _remedy(own: State, state: State) -> str:
    """Where all would be there under a prefix: which; where there is only too much: how to leave it out."""
    first = next((name for name in own if name not in state), None)
    if first is None and all(state[name].shape == own[name].shape for name in own):
        return "where they are no part of the model, leave them out: `ignore: [pattern]`, such as `aux.*`"
    prefixes = dict.fromkeys(name.removesuffix(first) for name in state if first and name.endswith(f".{first}"))
    right = [f"`prefix: {p}`{' (EMA)' if is_ema(p) else ''}" for p in prefixes if all(f"{p}{name}" in state for name in own)]
    return f"say {' or '.join(right)}" if right else "correct the factory's arguments, checkpoint.key or checkpoint.prefix"


def left_out(path: Path, state: State, patterns: Iterable[str]) -> State:
    """The weights whose names fit none of the patterns. Raises CheckpointError for one that no name fits."""
    for pattern in patterns:
        kept = {name: tensor for name, tensor in state.items() if not fnmatchcase(name, pattern)}
        if len(kept) == len(state):
            raise CheckpointError(
                f"{path}: ignore: no weight's name fits {pattern!r}; names are {listed(state)}", "correct or remove it"
            )
        state = kept
    return state
