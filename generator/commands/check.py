"""triton-repo check: a whole repository judged without a server."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import click

from generator import reports


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


@click.command("check")
@click.argument("repository", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(reports.formats()), default="text", show_default=True)
@click.option("--server", callback=_version, help="The oldest server that must load it, such as 2.51; left out, the newest.")
@click.option("--gpus", type=click.IntRange(min=0), help="How many GPUs the server sees; left out, not judged.")
@click.option("--strict-config", is_flag=True, help="The server runs with --disable-auto-complete-config.")
@click.option("--ignore", multiple=True, callback=_known, metavar="RULE", help="Leave a rule out; may be said several times.")
@click.option("--warnings-as-errors", is_flag=True, help="Exit with 1 for a warning, too.")
@click.option("--list-rules", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="Show every rule and exit.")
def command(repository: Path, form: str, ignore: tuple[str, ...], warnings_as_errors: bool, **assumed: Any) -> int:
    """Find everything that tritonserver would refuse in REPOSITORY, and what it accepts but users regret; no server needed.

    REPOSITORY is a folder of model folders, or one model folder, which is judged among those beside it.
    """
    from generator import check, machine

    only = ""
    if (repository / "config.pbtxt").is_file():
        repository, only = repository.absolute().parent, repository.absolute().name
    here = machine.look()
    world, found = check.read(
        repository, server=assumed["server"], gpus=assumed["gpus"], strict=assumed["strict_config"],
        machine=here if here.gpus else None,
    )  # fmt: skip
    found += check.check(world)
    found = [f for f in found if f.rule not in ignore and (not only or f.model == only)]
    text = reports.writer(form)(found, 1 if only else len(world.models) + len(world.broken))
    if text:
        click.echo(text)
    return int(any(f.level == "error" or warnings_as_errors for f in found))
