"""Writes the pages of docs/ that are made from the code, and docs/schema.json. `make docs`."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from generator import commands, plugin
from generator.cli import cli
from generator.spec import Spec, json_schema

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = (
    "frontends", "module_passes", "passes", "heads", "nms", "preprocessing", "postprocessing", "precisions", "backends",
    "accelerators",
)  # fmt: skip
#: Where the table of passes begins in docs/surgery.md.
_TABLE = "| kind | | proven |\n|---|---|---|"
SECTIONS = ("serving", "config", "verify")


def reference() -> str:
    """The whole page, as Markdown."""
    parts = ["# Reference\n\nMade from the code by `make docs`; a test fails when it is out of date.\n\n## Commands\n"]
    parts += [_command(info.name) for info in pkgutil.iter_modules(commands.__path__)]
    parts.append("\n## The spec\n\n`triton-repo schema` prints the same as JSON Schema.\n")
    parts.append(_fields(Spec))
    parts += [f"\n### {name}\n\n{_fields(_model(name))}" for name in SECTIONS]
    parts += [_family(name) for name in FAMILIES]
    return "\n".join(parts)


def _command(name: str) -> str:
    command: click.Command = importlib.import_module(f"generator.commands.{name}").command
    group = click.Context(cli, info_name="triton-repo", help_option_names=["-h", "--help"])
    assert cli.get_command(group, name) is command
    context = click.Context(command, info_name=name, parent=group, max_content_width=100, terminal_width=100)
    return f"\n### triton-repo {name}\n\n```text\n{command.get_help(context)}\n```\n"


def _model(name: str) -> type[plugin.Model]:
    annotation = Spec.model_fields[name].annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, plugin.Model)
    return annotation


def _family(name: str) -> str:
    package = f"generator.{name}"
    first = (importlib.import_module(package).__doc__ or "").splitlines()[0]
    lines = [f"\n### {name}\n\n{first}\n"]
    for kind, cls in plugin.family(package).items():
        summary = (cls.__doc__ or "").strip().splitlines()[0]
        lines.append(f"\n#### kind: {kind}\n\n{summary}\n\n{_fields(cls)}")
    return "\n".join(lines)


def surgery() -> str:
    """docs/surgery.md with its table of passes made anew; the rest of the page is written by hand."""
    page = (ROOT / "docs" / "surgery.md").read_text(encoding="utf-8")
    before, _, rest = page.partition(_TABLE)
    rows = [_pass(kind, cls) for kind, cls in plugin.family("generator.passes").items()]
    return "\n".join([before + _TABLE, *rows, "", rest.partition("\n\n")[2]])


def _pass(kind: str, cls: type[plugin.Plugin]) -> str:
    proven = "if said" if "same_results" in cls.model_fields else "yes" if getattr(cls, "keeps_results", False) else ""
    return f"| `{kind}` | {(cls.__doc__ or '').splitlines()[0]} | {proven} |"


def _fields(model: type[plugin.Model]) -> str:
    schema = model.model_json_schema()
    rows = list(_rows(model, schema))
    return "\n".join(["| field | default | |", "|---|---|---|", *rows, ""]) if rows else "No fields.\n"


def _rows(model: type[plugin.Model], schema: dict[str, Any], above: str = "") -> Iterator[str]:
    """A row a field; the fields of a mapping inside it follow it, or have a section of their own."""
    for name, field in schema.get("properties", {}).items():
        if name == "kind" and issubclass(model, plugin.Plugin):
            continue
        below = _mapping(model, name)
        value = {} if below and field.get("default") else field.get("default")
        default = "**required**" if name in schema.get("required", []) else f"`{json.dumps(value)}`"
        yield f"| `{above}{name}` | {default} | {field.get('description', '')} |"
        if below is not None and model is not Spec:
            yield from _rows(below, below.model_json_schema(), f"{above}{name}.")


def _mapping(model: type[plugin.Model], name: str) -> type[plugin.Model] | None:
    """The plain mapping that a field may hold; plug-ins have sections of their own."""
    annotation = model.model_fields[name].annotation
    options = [annotation, *getattr(annotation, "__args__", ())]
    found = (o for o in options if isinstance(o, type) and issubclass(o, plugin.Model) and not issubclass(o, plugin.Plugin))
    return next(found, None)


def main() -> None:
    """Write them all."""
    import config_table  # these lie beside this file
    import heads_table
    import preprocessing_table

    (ROOT / "docs" / "config.md").write_text(config_table.page(), encoding="utf-8")
    (ROOT / "docs" / "preprocessing.md").write_text(preprocessing_table.page(), encoding="utf-8")
    heads_table.PATH.write_text(heads_table.page(heads_table.PATH.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / "docs" / "surgery.md").write_text(surgery(), encoding="utf-8")
    (ROOT / "docs" / "reference.md").write_text(reference(), encoding="utf-8")
    (ROOT / "docs" / "schema.json").write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
