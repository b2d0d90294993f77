"""The spec's preprocess held against what the checkpoint says of its training: pictures fitted otherwise cost accuracy unseen."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter

from generator.findings import Finding
from generator.load import line_of
from generator.pipeline import Pipeline
from generator.plugin import Choice
from generator.preprocessing import Preprocess

_COLOURS = ("scale", "mean", "std", "channel_order")


def judge(pipeline: Pipeline) -> list[Finding]:
    """A warning where the two would make other pixels of the same picture; none where the checkpoint says nothing."""
    pre, told = pipeline.spec.preprocess, pipeline.spec.checkpoint.preprocessing()
    if pre is None or not told:
        return []
    own = parsed(told)
    if _does(own, *pipeline.picture.size) == _does(pre, *pipeline.picture.size):
        return []
    return [
        Finding(
            "warning", "preprocess/unlike_training", f"{pipeline.spec.name}_preprocess", "", line(_said(pre)), line(told),
            "say so under `preprocess:`, unless it was trained otherwise",
            f"{pipeline.path}:{line_of(pipeline.path, ('preprocess',), pipeline.variant)}",
        )
    ]  # fmt: skip


def line(said: Mapping[str, Any]) -> str:
    """As a spec says it: `preprocess: {kind: center_crop, resize: 256}`."""
    return f"preprocess: {text(said)}"


def text(said: Mapping[str, Any]) -> str:
    """The same without the name of the field."""
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}
    return str(yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10**6).strip())


def parsed(said: Mapping[str, Any]) -> Preprocess:
    """The plug-in that it names."""
    return _adapter().validate_python(dict(said))


@functools.cache
def _adapter() -> TypeAdapter[Preprocess]:
    return TypeAdapter(Annotated[Preprocess, Choice("generator.preprocessing")])


def _said(pre: Preprocess) -> dict[str, Any]:
    return {"kind": pre.kind, **pre.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})}


def _does(pre: Preprocess, height: int, width: int) -> dict[str, Any]:
    """What decides pixels and what the graph makes of them; numbers to seven digits."""
    colours = {name: _rounded(getattr(pre, name)) for name in _COLOURS}
    return {**pre.parameters(height, width), "max_pixels": None, **colours}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_rounded, value))
    return value if not isinstance(value, float) or value == 0 else round(value, 7 - math.ceil(math.log10(abs(value))))
