"""triton-repo bench: latency, throughput, time of each step and the batches that formed, by the real perf_analyzer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from generator.errors import ClientError

if TYPE_CHECKING:
    from rich.console import Console

    from generator.bench import Level

_PICTURES = (".jpg", ".jpeg", ".png")


def concurrency_levels(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
    """`1,2,4` of a command line. Raises click.BadParameter."""
    try:
        levels = tuple(dict.fromkeys(int(part) for part in value.split(",")))
    except ValueError:
        levels = ()
    if not levels or min(levels) < 1:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers from 1 on, such as 1,2,4")
    return levels


@click.command("bench")
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("--images", "more", multiple=True, type=click.Path(path_type=Path), help="The same, as an option; may be repeated.")
@click.option("--model", default="", help="The ensemble to measure; without it every ensemble that takes pictures.")
@click.option("--url", default="", help="host:port of a running server's gRPC service.")
@click.option(
    "-r",
    "--repository",
    type=click.Path(path_type=Path),
    help="Serve this repository meanwhile; default without --url: model_repository.",
)
@click.option(
    "--concurrency",
    default="1,2,4,8,16",
    show_default=True,
    callback=concurrency_levels,
    help="Requests in flight, a level each.",
)
@click.option(
    "--window", type=click.IntRange(min=100), default=1500, show_default=True, help="Milliseconds of one of three windows."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("bench"), show_default=True, help="For JSON and picture."
)
def command(
    *,
    images: tuple[Path, ...],
    more: tuple[Path, ...],
    model: str,
    url: str,
    repository: Path | None,
    concurrency: tuple[int, ...],
    window: int,
    output: Path,
) -> None:
    """Measure a served ensemble with real pictures: IMAGES are JPEG or PNG files, or folders of them.

    Without IMAGES those under weights/ are taken, the example photos that `make weights` fetches.
    """
    from generator import bench, bench_report, perf_analyzer
    from generator.client import Client
    from generator.console import console

    if url and repository:
        raise ClientError("--url and --repository exclude each other", "give --url for a running server, -r to start one")
    pictures = _pictures([*images, *more])
    tool = perf_analyzer.find()
    out, notes = console(), console(stderr=True)
    with _served(url, repository or Path("model_repository"), notes) as address:
        for name in [model] if model else _ensembles(address):
            if _cached(address, name):
                notes.print(
                    f"note: {name} has a response cache, and pictures repeat: these are figures of the cache", markup=False
                )
            with Client(address, name) as client, _Progress(notes, name, concurrency) as progress:
                report = bench.sweep(client, pictures, concurrency, tool, progress, window_ms=window)
            files = bench_report.write(report, output)
            out.print(bench_report.levels(report))
            out.print(bench_report.steps(report))
            out.print(f"written: {files[0]} and {files[1]}\n", style="dim")


def _cached(address: str, model: str) -> bool:
    """Does the model answer from the server's cache? Then a benchmark measures that."""
    import tritonclient.grpc as triton

    with triton.InferenceServerClient(address) as client:
        return bool(client.get_model_config(model).config.response_cache.enable)


class _Progress:
    """A line a level on stderr, and the level that is being measured."""

    def __init__(self, console: Console, model: str, concurrency: Sequence[int]) -> None:
        self._console, self._model, self._levels = console, model, list(concurrency)
        self._status = console.status(f"{model}: warming up")

    def __enter__(self) -> _Progress:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def __call__(self, concurrency: int, level: Level | None) -> None:
        place = f"{self._model}: concurrency {concurrency} ({self._levels.index(concurrency) + 1} of {len(self._levels)})"
        if level is None:
            self._status.update(f"{place} ...")
        else:
            self._console.print(f"  {place}: {level.throughput:.1f} infer/s, p50 {level.p50_ms:.1f} ms", markup=False)


@contextlib.contextmanager
def _served(url: str, repository: Path, notes: Console) -> Iterator[str]:
    """The address of the server: the running one, or our own for as long as it is needed."""
    if url:
        yield url
        return
    from generator import loadable
    from generator.server import Server

    found = loadable.of(repository)
    found.check(repository)
    for model, why in found.left_out.items():
        notes.print(f"left out: {model}: {why}", markup=False)
    with notes.status(f"starting a server on {repository} ..."):
        server = Server(repository, **found.server_options()).start()
    with server:
        yield server.grpc_url


def _ensembles(url: str) -> list[str]:
    from generator.client import Client

    with Client(url) as client:
        names = client.ensembles()
    if not names:
        raise ClientError(f"the server at {url} has no ensemble that takes pictures", "build one, or name a model with --model")
    return names


def _pictures(named: Sequence[Path]) -> list[Path]:
    """The files, and those in the folders. Raises ClientError for what is not there."""
    if not named:
        found = sorted(path for path in Path("weights").rglob("*") if path.suffix.lower() in _PICTURES)
        if not found:
            raise ClientError(
                "no picture was named, and there is none under weights/", "name some: triton-repo bench a.jpg b.jpg"
            )
        return found
    found = []
    for path in named:
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in _PICTURES) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            raise ClientError(f"{path}: no such picture, or no JPEG or PNG in it", "name a JPEG or PNG file, or a folder of them")
        found += inside
    return found
