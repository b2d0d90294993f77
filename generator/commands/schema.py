"""triton-repo schema: the JSON Schema of a spec."""

from __future__ import annotations

import json

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of a pipeline's YAML, for editors."""
    from generator.spec import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
