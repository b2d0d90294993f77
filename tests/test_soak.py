"""A minute of mixed load on the real server: good pictures always get the same answer, bad ones an error, and memory stays."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_detector

from generator.answers import Detections
from generator.cli import run
from generator.client import AsyncClient
from generator.errors import ClientError

SECONDS = 60


def resident(group: int) -> int:
    """Bytes of the server and its stubs: every process of the group."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rsplit(")", 1)[1].split()[2]) == group:
                total += int((status.parent / "statm").read_text().split()[1]) * 4096
        except (OSError, IndexError):
            continue
    return total


@pytest.mark.full
def test_a_minute_of_good_and_bad_requests(tmp_path: Path, server: Callable[..., Any]) -> None:
    spec = tiny_detector.write(tmp_path / "specs", seed=41)
    assert run(["build", str(spec), "-o", str(tmp_path / "repo")]) == 0
    running = server(tmp_path / "repo")
    good = [(tmp_path / "specs" / name).read_bytes() for name in ("wide.png", "tall.jpg")]
    rows = [good[0], b"no picture", good[1], good[1][:-200], b""]
    answers: dict[int, set[str]] = {}
    sizes: list[int] = []

    async def one(client: AsyncClient, row: int) -> None:
        (found,) = await client.infer_each([rows[row]])
        said = str(found.to_dict()) if isinstance(found, Detections) else "error"
        assert isinstance(found, Detections | ClientError)
        answers.setdefault(row, set()).add(said)

    async def load() -> int:
        count, end = 0, time.monotonic() + SECONDS
        async with AsyncClient(running.grpc_url, "tiny") as client:
            while time.monotonic() < end:
                await asyncio.gather(*(one(client, (count + i) % len(rows)) for i in range(16)))
                count += 16
                if count % 800 == 0:
                    sizes.append(resident(running.pid))
        return count

    count = asyncio.run(load())
    assert count > 1000
    assert {row for row, said in answers.items() if said == {"error"}} == {1, 3, 4}
    assert len(answers[0]) == len(answers[2]) == 1
    warm, last = sizes[len(sizes) // 4], sizes[-1]
    assert last < warm * 1.2 + 32 * 2**20, f"{warm / 2**20:.0f} MiB after a quarter, {last / 2**20:.0f} MiB at the end"
