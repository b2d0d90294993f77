"""The text of a spec in the making: lines, values as YAML, remarks, and marks for what the user has to complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

#: Behind a line that the user has to complete before it builds, or should look at.
FILL_IN, CHECK = " # <- FILL IN:", " # <- CHECK:"


@dataclass
class FirstSpec:
    """The text, the labels that go into a file beside it, and how many lines wait for the user."""

    lines: list[str] = field(default_factory=list)
    labels: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As it is written."""
        return "\n".join(self.lines) + "\n"

    @property
    def open(self) -> list[str]:
        """The lines that have to be completed."""
        return [line.strip() for line in self.lines if FILL_IN in line]

    def say(self, line: str, indent: int = 0) -> None:
        """One line."""
        self.lines.append("  " * indent + line)

    def block(self, key: str, said: Mapping[str, Any], indent: int = 0) -> None:
        """A mapping, one line an entry."""
        self.say(f"{key}:", indent)
        for name, value in said.items():
            self.say(f"{name}: {flow(value)}", indent + 1)


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Path):
        value = str(value)
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=False)
    return text.removesuffix("...\n").strip()


def counted(count: int, what: str) -> str:
    """`1 line`, `2 lines`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def remark(text: str) -> str:
    """Text from a file, fit for one line of comment."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
