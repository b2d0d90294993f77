"""Engines outlive a build: what a new build asks for just as the one before is passed on, not built again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from generator import carry, engines
from generator.plan import file_digest
from generator.server_version import Version


def carried(served: Path, staged: Path, models: Collection[str], server: Version) -> dict[str, str]:
    """Put the engines of the repository `served` that fit into the model folders in `staged`; digests by path.

    One fits where its provenance is that of the staged request (graph, options, profiles), for a server with that TensorRT.
    """
    found: dict[str, str] = {}
    for item in engines.wanted(staged):
        before = served / item.folder.relative_to(staged)
        if item.model not in models or engines.stale(replace(item, folder=before, server=server)):
            continue
        for name in item.files:
            carry.link(before / name, item.folder / name)
            found[(item.folder / name).relative_to(staged).as_posix()] = file_digest(item.folder / name)
    return found
