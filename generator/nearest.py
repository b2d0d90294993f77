"""`no tensor 'imgaes'; did you mean 'images'?`: one way to say that something is not there, and what is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from generator.errors import SurgeryError

_SHOWN = 8


def missing(what: str, name: str, there: Iterable[str]) -> SurgeryError:
    """`what` such as `input`; the nearest of the names that are there, or the first of them."""
    names = list(dict.fromkeys(filter(None, there)))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return SurgeryError(f"no {what} {name!r}", f"did you mean {' or '.join(map(repr, close))}?")
    return SurgeryError(f"no {what} {name!r}", f"there are: {listed(names)}")


def listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    all_names = list(names)
    more = f", and {len(all_names) - _SHOWN} more" if len(all_names) > _SHOWN else ""
    return (", ".join(all_names[:_SHOWN]) or "none") + more
