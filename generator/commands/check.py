"""triton-repo check: a whole repository judged without a server."""

from __future__ import annotations

import difflib
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from generator import reports
from generator.errors import RepositoryError

if TYPE_CHECKING:
    from generator.findings import Finding
    from generator.preflight_verdict import Verdict


def _version(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    from generator import server_version

    try:
        return server_version.parse(value) if value else ()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _known(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    from generator.rules import all_rules

    names = [rule.id for rule in all_rules()]
    for name in value:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=3)
            raise click.BadParameter(f"no rule {name!r}; {'did you mean ' + ', '.join(close) if close else 'see --list-rules'}")
    return value


def _list(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value:
        return
    from generator.console import console, table
    from generator.rules import all_rules

    rules = table("", "rule", "level", "what it looks for", "follows")
    for rule in all_rules():
        rules.add_row(rule.id, rule.level, rule.summary, rule.source)
    console().print(rules)
    ctx.exit()


def _capability(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for one in value:
        if not re.fullmatch(r"[1-9][0-9]?\.[0-9]", one):
            raise click.BadParameter(f"found {one!r}; expected one as NVIDIA writes it, such as 8.9")
    return tuple(dict.fromkeys(value))


@click.command("check")
@click.argument("paths", metavar="REPOSITORY...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(reports.formats()), default="text", show_default=True)
@click.option("--server", callback=_version, help="The oldest server that must load it, such as 2.51; left out, the newest.")
@click.option("--gpus", type=click.IntRange(min=0), help="How many GPUs the server sees; left out, not judged.")
@click.option("--strict-config", is_flag=True, help="The server runs with --disable-auto-complete-config.")
@click.option("--tensorrt", is_flag=True, help="Also ask NVIDIA's own parser and builder, for every ONNX file; no GPU needed.")
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    callback=_capability,
    default=("8.9",),
    show_default=True,
    metavar="N.N",
    help="With --tensorrt: compile for this GPU type; may be said several times.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="With --tensorrt: seconds for each graph.",
)
@click.option("--ignore", multiple=True, callback=_known, metavar="RULE", help="Leave a rule out; may be said several times.")
@click.option("--warnings-as-errors", is_flag=True, help="Exit with 1 for a warning, too.")
@click.option("--list-rules", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="Show every rule and exit.")
def command(
    paths: tuple[Path, ...], form: str, ignore: tuple[str, ...], warnings_as_errors: bool, tensorrt: bool, **said: Any
) -> int:
    """Find everything that tritonserver would refuse in REPOSITORY, and what it accepts but users regret; no server needed.

    REPOSITORY is a folder of model folders, or one model folder, which is judged among those beside it. With --tensorrt it may
    also be an ONNX file, or a spec that has been built; and there may be several.
    """
    from generator import machine

    here = machine.look()
    assumed = {
        "server": said["server"], "gpus": said["gpus"], "strict": said["strict_config"], "machine": here if here.gpus else None,
    }  # fmt: skip
    if tensorrt:
        found, count = _tensorrt(paths, said["capabilities"], said["timeout"], assumed)
    else:
        _only_with_tensorrt(capabilities="--compute-capability", timeout="--timeout")
        found, count = _plain(paths, assumed)
    found = [f for f in found if f.rule not in ignore]
    text = reports.writer(form)(found, count)
    if text:
        click.echo(text)
    return int(any(f.level == "error" or warnings_as_errors for f in found))


def _only_with_tensorrt(**options: str) -> None:
    """Raise UsageError for an option that would be passed over."""
    context = click.get_current_context()
    for name, option in options.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option} goes with --tensorrt")


def _plain(paths: tuple[Path, ...], assumed: dict[str, Any]) -> tuple[list[Finding], int]:
    """Findings, and how many models were looked at."""
    from generator import check

    if len(paths) > 1 or paths[0].is_file():
        what = f"{paths[0]} is a file" if paths[0].is_file() else f"{len(paths)} paths"
        raise RepositoryError(
            what, "name one model repository, or say --tensorrt, which judges several, ONNX files and specs too"
        )
    only, repository = "", paths[0]
    if (repository / "config.pbtxt").is_file():
        repository, only = repository.absolute().parent, repository.absolute().name
    world, found = check.read(repository, **assumed)
    found += check.check(world)
    return [f for f in found if not only or f.model == only], 1 if only else len(world.models) + len(world.broken)


def _tensorrt(
    paths: tuple[Path, ...], capabilities: tuple[str, ...], seconds: float, assumed: dict[str, Any]
) -> tuple[list[Finding], int]:
    """Findings, and how many models were looked at; each graph's verdict goes to stderr when it is known."""
    from generator import preflight_paths

    terms = preflight_paths.terms(capabilities, seconds)
    found: list[Finding] = []
    count = 0
    verdicts: list[str] = []
    for path in paths:
        before = len(verdicts)
        more, models = preflight_paths.judge(path, terms, partial(_tell, verdicts), **assumed)
        found, count = found + more, count + models
        if len(verdicts) == before:
            click.echo(f"  {path}: no ONNX file of a model in it; NVIDIA's parser was asked nothing", err=True)
    return found, count


def _tell(told: list[str], verdict: Verdict) -> None:
    told.append(str(verdict))
    click.echo(f"  {verdict}", err=True)
