"""Several targets of one checkpoint: `variants:` of a spec, each the spec with some of its keys said anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from generator.draft import Loc

#: Keys that are mappings of settings: a variant says some of them anew and keeps the others.
_MERGED = ("serving", "config", "verify")
KEY = "variants"


def merged(said: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """The whole spec NAME_VARIANT, as it would stand in a file of its own; `said` is the file as YAML reads it.

    `serving`, `config` and `verify` are merged key by key; any other key of the variant takes the place of the spec's.
    """
    own = said[KEY][variant] or {}
    base = {key: value for key, value in said.items() if key != KEY}
    both = [key for key in _MERGED if isinstance(base.get(key), dict) and isinstance(own.get(key), dict)]
    parts = {key: {**base[key], **own[key]} for key in both}
    return {**base, **own, **parts, "name": name(base.get("name"), variant)}


def name(spec: Any, variant: str) -> str:
    """What a variant's model is called: NAME_VARIANT."""
    return f"{spec}_{variant}"


def place(said: Mapping[str, Any], variant: str, loc: Loc) -> Loc:
    """Where the variant's value at `loc` stands in the file: under `variants:` where the variant says it, else as it is."""
    own = (said.get(KEY) or {}).get(variant) or {}
    depth = 2 if loc[:1] and loc[0] in _MERGED else 1
    for step in loc[:depth]:
        if not isinstance(own, Mapping) or step not in own:
            return loc
        own = own[step]
    return (KEY, variant, *loc)
