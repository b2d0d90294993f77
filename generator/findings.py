"""What the checker says: one finding a mistake, with where it stands, what is there, what should be, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """An error is what tritonserver refuses at load; a warning is what it accepts and users regret."""

    level: Level
    #: The rule's name, such as `ensemble/cycle`.
    rule: str
    model: str
    #: Path of the field in the model's config, such as `input[0].dims`; empty: the model as a whole.
    field: str
    found: str
    expected: str
    remedy: str
    #: `file:line`, or the folder.
    where: str = ""
    #: What upstream says so: a document, or a file and function of the server's source.
    source: str = ""

    def __str__(self) -> str:
        """One line for a terminal."""
        place = f"{self.model}: {self.field}" if self.field else self.model
        what = f"found {self.found}; expected {self.expected}; {self.remedy}"
        return f"{self.where}: {self.level}: {place}: {what} [{self.rule}]"
