"""triton-repo deploy: the files that serve a repository from the official container."""

from __future__ import annotations

from pathlib import Path

import click

from generator.container import BASE_IMAGE, IMAGE

_PORT = click.IntRange(1, 65535)


def _gpus(_: click.Context, __: click.Parameter, value: str | None) -> str:
    if value and value != "all" and not (value.isdecimal() and int(value) > 0):
        raise click.BadParameter(f"{value!r} is neither a count of GPUs nor 'all'")
    return value or ""


@click.command("deploy")
@click.argument("repository", type=click.Path(path_type=Path), default=Path("model_repository"))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("deploy"), show_default=True)
@click.option("--image", default=BASE_IMAGE, show_default=True, help="The tritonserver image to build on.")
@click.option("--tag", default=IMAGE, show_default=True, help="What to call the image that is built.")
@click.option("--gpus", callback=_gpus, help="Reserve this many GPUs, or 'all'.  [default: all, where a model needs one]")
@click.option("--http-port", type=_PORT, default=8000, show_default=True)
@click.option("--grpc-port", type=_PORT, default=8001, show_default=True)
@click.option("--metrics-port", type=_PORT, default=8002, show_default=True)
def command(
    *, repository: Path, output: Path, image: str, tag: str, gpus: str, http_port: int, grpc_port: int, metrics_port: int
) -> None:
    """Write Dockerfile, compose.yaml, requirements.txt and README.md that serve REPOSITORY (default: model_repository)."""
    from generator import deploy, gpu_serving

    options = deploy.Options(image, tag, gpus, (http_port, grpc_port, metrics_port))
    files = deploy.render(repository, output, options)
    deploy.check_dockerfile(files["Dockerfile"], set(files))
    if why := gpu_serving.of(repository).unlike(image):
        click.echo(f"note: {image}: {why}: say that image with --image", err=True)
    for name, what in deploy.write(files, output).items():
        click.echo(f"  {what:9} {output / name}")
    click.echo(f"compose.yaml: {deploy.check_compose(files['compose.yaml'], output)}")
    click.echo(f"the image was not built and the container was not run here; to do so: cd {output} && docker compose up --build")
