"""Telling a running server about a repository that has changed, and waiting until it serves what it should.

With explicit model control each model is loaded through the v2 repository API, composing models before their ensembles; a server
that polls is only watched. Either way the old versions answer until the new ones are ready (core,
src/model_repository_manager/model_lifecycle.cc, OnLoadFinal).
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from generator import contract
from generator.errors import ClientError, ServerError

#: Seconds between two looks at a server that polls.
_LOOK = 0.2
#: How a server that does not run in explicit mode refuses (core, ModelRepositoryManager::LoadUnloadModel).
_NOT_EXPLICIT = "explicit model load / unload is not allowed"


@dataclass(frozen=True)
class Rolled:
    """What the server did: `explicit` or `poll`, and the retired models that it still serves."""

    control: str
    still_loaded: tuple[str, ...] = ()


def roll_out(
    url: str, served: Mapping[str, Sequence[int]], retired: Sequence[str] = (), *, timeout: float = 120.0, unload: bool = False
) -> Rolled:
    """Have the server at `url` (host:port of its gRPC service) serve exactly the versions that `served` names for each model.

    `served` has each model after those it calls. `unload` has models that are no longer there unloaded in explicit mode.
    Raises ServerError with the server's words, or when it is not done after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with _connected(url) as client:
        control = _load(client, list(served), url, deadline)
        _wait(client, served, url, deadline, control)
        left = _still_loaded(client, retired, url) if control == "explicit" else []
        if unload:
            for name in reversed(left):  # the ensemble first, as it calls the others
                _ask(url, functools.partial(client.unload_model, name), f"could not unload {name!r}")
            left = []
        return Rolled(control, tuple(left))


@contextmanager
def _connected(url: str) -> Iterator[Any]:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what matters arrives as an exception
    import tritonclient.grpc as triton

    client = triton.InferenceServerClient(contract.check_url(url))
    try:
        yield client
    finally:
        client.close()


def _load(client: Any, names: Sequence[str], url: str, deadline: float) -> str:
    """Load each model; the kind of model control that the server turned out to have."""
    from tritonclient.utils import InferenceServerException

    done: list[str] = []
    for name in names:
        try:
            client.load_model(name, client_timeout=max(deadline - time.monotonic(), 0.1))
        except InferenceServerException as error:
            if _NOT_EXPLICIT in (words := _words(error)):
                return "poll"
            _reached(url, error)
            before = f" ({', '.join(done)} loaded before it)" if done else ""
            raise ServerError(f"{url}: model {name!r} was not loaded{before}: {words}", "see the server's log") from None
        done.append(name)
    return "explicit"


def _wait(client: Any, served: Mapping[str, Sequence[int]], url: str, deadline: float, control: str) -> None:
    while True:
        index = _index(client, url)
        late = {name for name, versions in served.items() if _of(index, name) != set(versions)}
        if not late:
            return
        if time.monotonic() > deadline:
            raise ServerError(f"{url}: {_late(index, served, sorted(late))}", _hint(control))
        time.sleep(_LOOK)


def _late(index: Sequence[Any], served: Mapping[str, Sequence[int]], late: Sequence[str]) -> str:
    """Of the first model that is not as it should be: what is ready, what should be, and why the server says it is not."""
    name = late[0]
    reasons = [f"version {e.version} is {e.state}: {e.reason}" for e in index if e.name == name and e.state != "READY"]
    ready, wanted = sorted(_of(index, name)), list(served[name])
    said = f"; {'; '.join(reasons)}" if reasons else ""
    return f"{name} serves versions {ready}, expected {wanted}{said}" + (f" ({len(late) - 1} more)" if len(late) > 1 else "")


def _hint(control: str) -> str:
    poll = "is it started with --model-control-mode=poll, and does it serve this destination"
    return f"{poll if control == 'poll' else 'does it serve this destination'}? See its log"


def _still_loaded(client: Any, names: Sequence[str], url: str) -> list[str]:
    """Those of `names` that answer. The index no longer lists a loaded model whose folder is gone."""
    return [name for name in names if _ask(url, functools.partial(client.is_model_ready, name), "did not answer")]


def _of(index: Sequence[Any], name: str) -> set[int]:
    return {int(entry.version) for entry in index if entry.name == name and entry.state == "READY"}


def _index(client: Any, url: str) -> Sequence[Any]:
    found: Sequence[Any] = _ask(url, lambda: client.get_model_repository_index(client_timeout=10.0), "did not answer").models
    return found


def _ask(url: str, question: Callable[[], Any], what: str) -> Any:
    from tritonclient.utils import InferenceServerException

    try:
        return question()
    except InferenceServerException as error:
        _reached(url, error)
        raise ServerError(f"{url}: {what}: {_words(error)}", "see the server's log") from None


def _reached(url: str, error: Any) -> None:
    """Raise ClientError where it was not the server that spoke."""
    if str(error.status()).endswith("UNAVAILABLE"):
        away = contract.away(url, _words(error))
        raise ClientError(away.message, away.remedy.replace("--url", "--server")) from None


def _words(error: Any) -> str:
    """The server's message, in one line."""
    return " ".join(str(error.message() or error).split())
