"""Field types that the families share: names, file paths relative to the YAML, and numbers written as fractions."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


def _name(value: str) -> str:
    if not _NAME.match(value) or ".." in value:
        raise ValueError(f"{value!r} cannot name a model folder; use letters, digits, '_', '-' and single '.'")
    return value


def _resolve(value: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    path = value if value.is_absolute() or base is None else Path(base) / value
    return Path(*path.parts) if ".." not in path.parts else path.resolve()


def _file(value: Path, info: ValidationInfo) -> Path:
    path = _resolve(value, info)
    if not path.exists():
        hint = "run `make weights` to fetch the project's own checkpoints, or correct the path"
        raise ValueError(f"no such file: {path}; {hint}")
    if not path.is_file():
        raise ValueError(f"{path} is not a file; name the file itself")
    return path


def _folder(value: Path, info: ValidationInfo) -> Path:
    path = _resolve(value, info)
    if not path.is_dir():
        raise ValueError(f"{path} is a file; name the folder it lies in" if path.exists() else f"no such folder: {path}")
    return path


def _fraction(value: Any) -> Any:
    """`1/255` as YAML gives it, a string."""
    if isinstance(value, str):
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{value!r} is not a number or a fraction such as 1/255") from None
    return value


#: A model or tensor name that is safe as a folder name.
Name = Annotated[str, AfterValidator(_name)]
#: A path relative to the YAML file.
SpecPath = Annotated[Path, AfterValidator(_resolve)]
#: The same, and the file must be there.
SpecFile = Annotated[Path, AfterValidator(_file)]
#: A folder, likewise.
SpecFolder = Annotated[Path, AfterValidator(_folder)]
#: A float that may be written as a fraction.
Number = Annotated[float, BeforeValidator(_fraction, json_schema_input_type=float | str)]
