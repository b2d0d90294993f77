"""triton-repo doctor: what is installed, found and usable, and the remedy beside what is missing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from generator.diagnosis import Finding


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def command(as_json: bool) -> None:
    """Look at this machine. Exit code 0 when everything that `make repo` needs is there, else 1."""
    from generator import diagnosis

    findings = diagnosis.examine()
    missing = [finding.what for finding in findings if finding.required and not finding.ok]
    if as_json:
        click.echo(json.dumps({"ready": not missing, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _table(findings)
        click.echo(f"needed and missing: {', '.join(missing)}" if missing else "everything that `make repo` needs is here")
    if missing:
        raise click.exceptions.Exit(1)


def _table(findings: list[Finding]) -> None:
    from rich.text import Text

    from generator.console import console, table

    rows = table("", "", "what", "found", "remedy")
    for finding in findings:
        mark = Text("ok", "green") if finding.ok else Text("missing", "red") if finding.required else Text("absent", "yellow")
        found = finding.found.replace(str(Path.home()), "~")
        rows.add_row(mark, finding.what, found, finding.remedy)
    console().print(rows)
