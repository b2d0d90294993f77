"""Fixtures that every test file may use. A real server is part of the set-up: where it is missing, tests fail and say so."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from generator.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell that runs us in the background has us, and all our children, ignore ^C; tests that press it mean it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server() -> Iterator[Callable[..., Server]]:
    """`server(repository, **options)` starts a real tritonserver on free ports; it lives until the session ends.

    The same repository and options give the same running server.
    """
    with contextlib.ExitStack() as running:
        started: dict[Any, Server] = {}

        def start(repository: Path | str, **options: Any) -> Server:
            key = (str(repository), repr(sorted(options.items())))
            if key not in started:
                started[key] = running.enter_context(Server(repository, **options))
            return started[key]

        yield start


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent
