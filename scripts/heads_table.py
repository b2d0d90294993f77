"""Writes the tables of docs/heads.md, between its two marks, from the classes of `generator/heads/`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from generator.heads import Head
from generator.plugin import Model, family

PATH = Path(__file__).resolve().parent.parent / "docs" / "heads.md"
BEGIN, END = "<!-- made by scripts/heads_table.py -->", "<!-- end of what is made -->"


def page(text: str) -> str:
    """The page with what is between the marks made anew. Raises ValueError where a mark is missing."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{PATH}: expected the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{tables()}{END}{after}"


def tables() -> str:
    """One row a head, then a section each."""
    heads = [cls for cls in family("generator.heads").values() if issubclass(cls, Head)]
    rows = ["| kind | takes | NMS | offered by shapes | held against |", "|---|---|---|---|---|", *map(_row, heads)]
    return "\n".join([*rows, "", *(line for cls in heads for line in _section(cls))])


def _row(cls: type[Head]) -> str:
    kind = cls.model_fields["kind"].default
    nms = "needed" if cls.needs_nms else "not needed: `nms: {kind: none}`"
    known = "yes" if "fits" in vars(cls) else "no"
    return f"| [`{kind}`](#{kind}) | {_summary(cls)} | {nms} | {known} | {cls.proven_by or '**unproven**'} |"


def _summary(cls: type[Model]) -> str:
    return inspect.getdoc(cls).splitlines()[0] if cls.__doc__ else ""  # type: ignore[union-attr]


def _section(cls: type[Head]) -> Iterator[str]:
    """The formula and its source, and the fields."""
    text = inspect.getdoc(cls) or ""
    yield f"### {cls.model_fields['kind'].default}\n"
    yield f"{text}\n"
    if base := next((b for b in cls.__mro__[1:] if b is not Head and issubclass(b, Head)), None):
        yield (inspect.getdoc(base) or "").partition("\n\n")[2] + "\n"
    yield from _fields(cls, "")
    yield ""


def _fields(model: type[Model], above: str) -> Iterator[str]:
    if not above:
        yield "| field | |"
        yield "|---|---|"
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        need = " **Required.**" if field.is_required() else ""
        yield f"| `{above}{name}` | {field.description or ''}{need} |"
        if below := _below(field.annotation):
            yield from _fields(below, f"{above}{name}[].")


def _below(annotation: object) -> type[Model] | None:
    """Of a list of mappings, the mapping."""
    for part in getattr(annotation, "__args__", ()):
        if isinstance(part, type) and issubclass(part, Model):
            return part
    return None


def main() -> None:
    """Write the page."""
    PATH.write_text(page(PATH.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
