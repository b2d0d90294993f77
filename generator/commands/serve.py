"""triton-repo serve: run a real tritonserver on a repository until Ctrl-C."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from generator.errors import ServerError, ToolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from generator.server import Server

Command = TypeVar("Command", bound="Callable[..., Any]")


def _port(name: str, default: int) -> Callable[[Command], Command]:
    text = f"Port for {name}; 0 takes a free one."
    return click.option(f"--{name}-port", type=click.IntRange(0, 65535), default=default, show_default=True, help=text)


@click.command("serve")
@click.argument("repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on. The server asks nobody for a password."
)
@_port("http", 8000)
@_port("grpc", 8001)
@_port("metrics", 8002)
@click.option("--log-file", type=click.Path(path_type=Path), help="Keep the server's own log here.")
@click.option(
    "--container",
    type=click.Choice(["no", "print", "run"]),
    default="no",
    show_default=True,
    help="Print, or run, the docker command that serves the repository instead.",
)
@click.option("--image", help="Image for --container.  [default: the one that `triton-repo deploy` describes]")
def command(
    *,
    repository: Path,
    host: str,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    log_file: Path | None,
    container: str,
    image: str | None,
) -> None:
    """Serve REPOSITORY (default: model_repository) on this machine; Ctrl-C stops it, with exit code 0."""
    from generator import loadable, shm
    from generator.server import Server, available

    models = shm.configs(repository)
    ports = (http_port, grpc_port, metrics_port)
    if container != "no":
        _container(repository, image, host, ports, shm.size_mib(shm.needs(models)), run=container == "run")
        return
    if not available():
        raise ToolError(
            "no tritonserver on PATH, and the wheel's is not installed",
            "run `make server`, or see `triton-repo serve --container print` for the official container",
        )
    # a service manager says SIGTERM where a person says Ctrl-C; both must take the server down
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = loadable.of(repository)
    found.check(repository)
    for name, why in found.left_out.items():
        click.echo(f"left out: {name}: {why}", err=True)
    click.echo(f"starting tritonserver on {repository} ({len(found.load) or len(models)} models) ...")
    server = Server(
        repository, host=host, http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, log_file=log_file,
        **found.server_options(),
    )  # fmt: skip
    with server:
        try:
            _announce(server, host)
            status = server.wait()
        except KeyboardInterrupt:
            click.echo("\nstopping ...")
        else:
            raise ServerError(f"tritonserver ended by itself with status {status}", "see its log (--log-file)")
    click.echo("stopped")


def _announce(server: Server, host: str) -> None:
    click.echo(f"ready: {', '.join(server.models)}")
    click.echo(f"  http     http://{server.http_url}\n  grpc     {server.grpc_url}\n  metrics  {server.metrics_url}")
    if not host.startswith("127.") and host != "localhost":
        click.echo(f"  note: everybody who reaches {host} can use this server", err=True)
    click.echo("Ctrl-C stops it")


def _container(repository: Path, image: str | None, host: str, ports: tuple[int, int, int], shm_mib: int, *, run: bool) -> None:
    from generator import container, gpu_serving

    line = container.run_command(repository, image or container.IMAGE, host, ports, shm_mib)
    if pending := gpu_serving.of(repository).pending:
        click.echo(f"# {', '.join(pending)}: still to be built, on the GPU host:")
        click.echo(f"triton-repo engines {shlex.quote(str(repository))}")
    if image is None:
        click.echo("# the stock image lacks what the model.py files import; make the image that has it, once:")
        click.echo(f"triton-repo deploy {shlex.quote(str(repository))} -o deploy && docker build -t {container.IMAGE} deploy")
    click.echo(shlex.join(line))
    if run and (status := container.run(line)):
        raise ServerError(f"docker run ended with status {status}", "read its messages above")
