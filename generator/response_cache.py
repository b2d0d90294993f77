"""The server's response cache: one for all models, which must ask for it each (server, docs/user_guide/response_cache.md)."""

from __future__ import annotations

from pathlib import Path

from generator import pbtxt
from generator.errors import RepositoryError

#: 64 MiB of answers, in the server's own memory.
OPTION = f"--cache-config=local,size={64 * 2**20}"


def wanted(repository: Path) -> bool:
    """Does a model of the repository enable the cache? A config that cannot be read does not; the server will say so."""
    for path in sorted(repository.glob("*/config.pbtxt")):
        try:
            if pbtxt.read(path).response_cache.enable:
                return True
        except RepositoryError:
            continue
    return False
