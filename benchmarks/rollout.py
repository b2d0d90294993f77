"""Requests lost while versions change under load: `python benchmarks/rollout.py [--changes 10] [--threads 3]`.

Two models, a bare one and an ensemble of three steps, are rolled forward and back, one change upon the other, by `build` into the
served repository and by `push` to it, with poll and with explicit model control, from a folder and from S3 (moto, loopback); for
comparison by hand, with rm and cp. Every answer is held against the answers of each version served alone. Prints the table and
writes it into docs/rollouts.md.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import load  # noqa: E402 -- the tests' own load

from generator.server import Server  # noqa: E402

PAGE = ROOT / "docs" / "rollouts.md"
#: Seconds that a copy by hand takes.
COPYING = 0.5
BEGIN, END = "<!-- made by benchmarks/rollout.py -->", "<!-- end -->"


@dataclass
class Row:
    """One way of changing versions, measured."""

    way: str
    control: str
    sent: int
    answered: int
    wrong: int
    lost: int
    seconds: list[float]
    first: str = ""

    def __str__(self) -> str:
        took = f"{statistics.median(self.seconds):.1f}" if self.seconds else "-"
        return f"| {self.way} | {self.control} | {self.sent} | {self.answered} | {self.wrong} | {self.lost} | {took} |"


def by_hand(scenario: load.Scenario, place: Path, version: int) -> None:
    """What many scripts do: the model's folder away, the new one in its place. `COPYING` stands for models of some size."""
    for name in ("scaled", "tiny_preprocess", "tiny_model", "tiny_postprocess", "tiny"):
        shutil.rmtree(place / name)
        time.sleep(COPYING)
        shutil.copytree(scenario.folder / f"only{version}" / name, place / name)


def measure(
    way: str, control: str, scenario: load.Scenario, repository: str, change: Callable[[int, Server, load.Load], list[float]],
    *, changes: int, threads: int,
) -> Row:  # fmt: skip
    """Serve, ask, change; what became of the requests."""
    remote = "://" in repository
    options: dict[str, Any] = load.poll() if control == "poll" else load.explicit(scenario)
    arguments = options.pop("extra_args", [])
    with tempfile.TemporaryDirectory() as empty:
        if remote:
            arguments = [*arguments, f"--model-repository={repository}"]
        server = Server(Path(empty if remote else repository), **options, extra_args=arguments, timeout=90)
        with server, scenario.load(server, threads) as loaded:
            time.sleep(1)
            seconds = [took for i in range(changes) for took in change(2 - i % 2, server, loaded)]
            time.sleep(2)
    counts = list(loaded.counts.values())
    lost = [text for c in counts for text in c.lost]
    wrong = sum(c.answered[0] for c in counts)
    return Row(
        way, control, sum(c.sent for c in counts), sum(sum(c.answered.values()) for c in counts), wrong, len(lost), seconds,
        lost[0] if lost else "",
    )  # fmt: skip


def rows(folder: Path, changes: int, threads: int) -> Iterator[Row]:
    """Every way, one after the other."""
    scenario = load.Scenario(folder / "scenario")
    for control in ("poll", "explicit"):
        scenario.build(1)

        def built(version: int, server: Server, loaded: load.Load) -> list[float]:
            return [step.seconds for step in load.roll(scenario, server, loaded, [version], pause=0.2)]

        yield measure("`build` into it", control, scenario, str(scenario.repository), built, changes=changes, threads=threads)
        scenario.build(1)
        place = folder / f"pushed-{control}"
        load.run("push", scenario.repository, place)

        def pushed(version: int, server: Server, loaded: load.Load, to: str = str(place)) -> list[float]:
            return [step.seconds for step in load.roll(scenario, server, loaded, [version], to=to, pause=0.2)]

        yield measure("`push` to a folder", control, scenario, str(place), pushed, changes=changes, threads=threads)
        scenario.build(1)
        with load.bucket() as place_s3:
            url = f"{place_s3}/repo"
            load.run("push", scenario.repository, url)

            def to_s3(version: int, server: Server, loaded: load.Load, to: str = url) -> list[float]:
                return [step.seconds for step in load.roll(scenario, server, loaded, [version], to=to, pause=0.2)]

            yield measure("`push` to S3", control, scenario, url, to_s3, changes=changes, threads=threads)
    hand = Path(shutil.copytree(folder / "scenario" / "only1", folder / "hand"))

    def copied(version: int, *_: object) -> list[float]:
        by_hand(scenario, hand, version)
        time.sleep(2.5)
        return []

    yield measure(
        f"`rm -r` and `cp -r`, {COPYING} s a model", "poll", scenario, str(hand), copied, changes=changes, threads=threads
    )


@click.command()
@click.option("--changes", default=10, show_default=True)
@click.option("--threads", default=3, show_default=True, help="Clients that ask each of the two models.")
def main(changes: int, threads: int) -> None:
    """Measure, print, and write the page's table."""
    made = [
        f"{changes} changes a row, forward and back in turn; {threads} clients ask each of the two models without pause;",
        f"{os.cpu_count()} cores. Seconds: median from the command's start until the server serves the new version and no other.",
        "",
        "| way | control | requests sent | answered | by neither version | lost | seconds |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    first = ""
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(Path(folder), changes, threads):
            click.echo(str(row))
            made.append(str(row))
            first = row.first or first
    if first:
        made += ["", "What a lost request was told, for example:", "", "```text", first.split(" ", 1)[1], "```"]
    text = PAGE.read_text(encoding="utf-8")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text("\n".join([head + BEGIN, "", *made, "", END]) + tail, encoding="utf-8")


if __name__ == "__main__":
    main()
