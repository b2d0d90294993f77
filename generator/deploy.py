"""The container's files: rendered, checked as far as that goes without a container, and never written over somebody's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator import container, gpu_serving, openvino_precision, paths, shm
from generator.errors import RepositoryError, ToolError

if TYPE_CHECKING:
    from pathlib import Path

MARKER = "Written by triton-repo deploy. Your changes would be lost: delete this line to keep them."
_INSTRUCTIONS = {"FROM", "ENV", "COPY", "RUN", "EXPOSE", "HEALTHCHECK", "CMD"}
_IMAGE = re.compile(r"[a-z0-9][\w.:/@-]*\Z")


@dataclass(frozen=True)
class Options:
    """What the user may choose. `gpus` is a count, "all", or empty: as the models need; `ports` are for HTTP, gRPC, metrics."""

    image: str = container.BASE_IMAGE
    tag: str = container.IMAGE
    gpus: str = ""
    ports: tuple[int, int, int] = (8000, 8001, 8002)


def render(repository: Path, target: Path, options: Options) -> dict[str, str]:
    """File name -> text for a container that serves `repository` from files in `target`. Raises RepositoryError, ToolError."""
    import jinja2

    for image in (options.image, options.tag):
        if not _IMAGE.match(image):
            raise ToolError(f"{image!r} is not the name of an image", "write it as name:tag or host/name:tag")
    models = shm.configs(repository)
    shares, needs = shm.needs(models), gpu_serving.of(repository)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.templates() / "deploy"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 -- Dockerfile and YAML, not HTML; strings are quoted with tojson
    )
    values = {
        "marker": MARKER,
        "image": options.image,
        "tag": options.tag,
        "gpus": options.gpus or ("all" if needs.gpu else ""),
        "needs": needs,
        "ports": options.ports,
        "serve": container.serve_command(repository),
        "variables": openvino_precision.variables(repository),
        "repository": _relative(repository, target),
        "models": [model.name for model in models],
        "shares": shares,
        "shm": shm.size_mib(shares),
        "margin": shm.MARGIN // shm.MIB,
        "base": shm.BASE // shm.MIB,
        "element": shm.ELEMENT // shm.MIB,
    }
    files = {name: environment.get_template(f"{name}.j2").render(values) for name in ("Dockerfile", "compose.yaml", "README.md")}
    files["requirements.txt"] = f"# {MARKER}\n" + (paths.templates() / "server" / "requirements.txt").read_text()
    return files


def write(files: dict[str, str], target: Path) -> dict[str, str]:
    """Write all files or none; name -> create, update or identical. Raises RepositoryError where a file is not ours."""
    outcome: dict[str, str] = {}
    for name, text in files.items():
        path = target / name
        old = path.read_text(errors="replace") if path.is_file() else None
        if path.exists() and (old is None or MARKER not in "".join(old.splitlines(keepends=True)[:2])):
            raise RepositoryError(
                f"{path} was not written by triton-repo deploy", "move it away, or choose another folder with -o"
            )
        outcome[name] = "create" if old is None else "identical" if old == text else "update"
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in (name for name, what in outcome.items() if what != "identical"):
            scratch = target / f".{name}.{os.getpid()}"
            scratch.write_text(files[name])
            scratch.replace(target / name)
    except OSError as error:
        raise RepositoryError(f"{target} cannot be written: {error.strerror}", "choose another folder with -o") from error
    return outcome


def check_dockerfile(text: str, beside: set[str]) -> None:
    """Instructions known, FROM first, and what COPY takes is in `beside`. Raises ToolError with the line."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.lstrip().startswith("#")]
    words = [line.split() for line in lines]
    if not words or words[0][0] != "FROM":
        raise ToolError("the Dockerfile does not begin with FROM", "report this: it was generated")
    for line, word in zip(lines, words, strict=True):
        if word[0] not in _INSTRUCTIONS or len(word) < 2:
            raise ToolError(f"the Dockerfile has a line that is no instruction: {line}", "report this: it was generated")
        if word[0] == "COPY" and not set(word[1:-1]) <= beside:
            raise ToolError(f"the Dockerfile copies what is not there: {line}", "report this: it was generated")


def check_compose(text: str, target: Path) -> str:
    """Load it, and have `docker compose config` judge it where there is one; says what was done. Raises ToolError."""
    import yaml

    try:
        service = yaml.safe_load(text)["services"]["triton"]
        assert service["build"]
        assert service["ports"]
    except (yaml.YAMLError, KeyError, TypeError, AssertionError) as error:
        raise ToolError(f"compose.yaml does not load: {error}", "report this: it was generated") from error
    if not shutil.which("docker"):
        return "loaded as YAML; no docker here to judge it"
    probe = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if probe.returncode:
        return "loaded as YAML; this docker has no compose to judge it"
    command = ["docker", "compose", "--file", str(target / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"docker compose refuses compose.yaml: {done.stderr.strip()}", "update docker compose to version 2")
    return "accepted by `docker compose config`"


def _relative(repository: Path, target: Path) -> str:
    """As compose wants it: relative paths begin with a dot."""
    path = os.path.relpath(repository.resolve(), target.resolve())
    return path if path.startswith(".") else f"./{path}"
