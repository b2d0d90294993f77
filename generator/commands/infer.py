"""triton-repo infer: pictures to a running server, answers as a table or JSON, and drawn into the pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator.errors import ClientError

if TYPE_CHECKING:
    from rich.table import Table

    from generator.answers import Answer


@dataclass
class _Row:
    """One picture: its answer or its error, and where it was drawn."""

    image: Path
    answer: Answer | None
    error: ClientError | None
    size: tuple[int, int] | None = None
    drawn: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"image": str(self.image)}
        if self.size:
            found |= {"width": self.size[0], "height": self.size[1]}
        if self.answer is not None:
            found |= self.answer.to_dict()
        if self.error is not None:
            found["error"] = str(self.error)
        if self.drawn:
            found["drawn"] = str(self.drawn)
        return found


@click.command("infer")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", default="", help="The ensemble to ask; may be left out where the server has only one.")
@click.option("--url", default="127.0.0.1:8001", show_default=True, help="host:port of the server's gRPC service.")
@click.option("--json/--table", "as_json", default=False, help="JSON alone on stdout, or a table.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path(), help="Folder for the drawn pictures; default: this one."
)
@click.option("--draw/--no-draw", "drawing", default=True, help="Write NAME.detections.png or NAME.classes.png for each picture.")
@click.option("--score-threshold", type=click.FloatRange(0, 1), help="For detectors that take it from the request.")
@click.option("--iou-threshold", type=click.FloatRange(0, 1), help="Likewise.")
@click.option("--timeout", type=click.FloatRange(min=0.001), default=60.0, show_default=True, help="Seconds a request may take.")
def command(
    *,
    images: tuple[Path, ...],
    model: str,
    url: str,
    as_json: bool,
    output: Path,
    drawing: bool,
    score_threshold: float | None,
    iou_threshold: float | None,
    timeout: float,
) -> None:
    """Ask a running server about IMAGES (JPEG or PNG), print what it finds and draw it into a copy of each.

    A picture that fails does not stop the others; the exit code is then 1.
    """
    from generator.client import Client

    if drawing:
        _folder(output)
    said = {"score_threshold": score_threshold, "iou_threshold": iou_threshold}
    thresholds = {name: value for name, value in said.items() if value is not None}
    with Client(url, model, timeout=timeout, thresholds=thresholds) as client:
        results = client.infer_each(images)
        name = client.contract().model
    rows = [_Row(i, None, r) if isinstance(r, ClientError) else _Row(i, r, None) for i, r in zip(images, results, strict=True)]
    if drawing:
        for row, target in zip(rows, _targets(rows, output), strict=True):
            _draw(row, target)
    if as_json:
        click.echo(json.dumps({"model": name, "url": url, "images": [row.to_dict() for row in rows]}, indent=2))
    else:
        _print(name, rows)
    failed = [row.error for row in rows if row.error]
    if failed:
        for error in failed[:-1]:
            click.echo(f"error: {error}", err=True)
        raise failed[-1] if len(failed) == 1 else ClientError(f"{failed[-1]} ({len(failed)} of {len(rows)} pictures failed)")


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}", "name another folder with -o") from None


def _targets(rows: Sequence[_Row], folder: Path) -> list[Path]:
    """Where each picture is drawn: never onto one of the inputs, and never two onto one file."""
    taken = {row.image.resolve() for row in rows}
    targets = []
    for row in rows:
        kind = "classes" if row.answer is not None and "classes" in row.answer.to_dict() else "detections"
        number, target = 1, folder / f"{row.image.stem}.{kind}.png"
        while target.resolve() in taken:
            number += 1
            target = folder / f"{row.image.stem}-{number}.{kind}.png"
        if row.answer is not None:
            taken.add(target.resolve())
        targets.append(target)
    return targets


def _draw(row: _Row, target: Path) -> None:
    """Write the picture; what goes wrong is the row's error, its answer stays."""
    from generator import draw

    if row.answer is None:
        return
    try:
        picture = draw.load(row.image.read_bytes(), str(row.image))
        row.size = picture.size
        draw.draw(picture, row.answer).save(target)
        row.drawn = target
    except ClientError as error:
        row.error = error
    except OSError as error:
        row.error = ClientError(f"{target}: {error.strerror or error}", "name another folder with -o, or --no-draw")


def _print(model: str, rows: Sequence[_Row]) -> None:
    from generator.console import console

    out = console()
    for row in rows:
        if row.answer is not None:
            what = "found" if hasattr(row.answer, "boxes") else "best"
            out.print(f"{row.image}: {len(row.answer)} {what} by {model}", style="bold", soft_wrap=True)
            if len(row.answer):
                out.print(_table(row.answer))
            if row.drawn:
                out.print(f"drawn: {row.drawn}", style="dim", soft_wrap=True)
            out.print()


def _table(answer: Answer) -> Table:
    from rich.table import Table
    from rich.text import Text

    boxes = getattr(answer, "boxes", None)
    table = Table()
    table.add_column("label")
    table.add_column("score", justify="right")
    for name in () if boxes is None else ("x1", "y1", "x2", "y2"):
        table.add_column(name, justify="right")
    for i, label in enumerate(answer.labels):
        box = [] if boxes is None else [f"{v:.1f}" for v in boxes[i]]
        table.add_row(Text(label), f"{answer.scores[i]:.3f}", *box)
    return table
