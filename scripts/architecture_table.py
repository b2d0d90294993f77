"""Write generator/architectures.json: the fingerprint of every torchvision and timm model, made without values.

Run it where both are installed (`/path/to/venv/bin/python scripts/architecture_table.py`); it downloads nothing.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from generator.architectures import TABLE, fingerprint


def _made() -> Iterator[tuple[str, Callable[[], Any]]]:
    import timm  # type: ignore[import-not-found, unused-ignore]
    import torchvision

    for name in torchvision.models.list_models():
        yield f"torchvision:{name}", partial(torchvision.models.get_model, name, weights=None, **_whole(name))
    for name in timm.list_models():
        yield f"timm:{name}", partial(timm.create_model, name)


def _whole(name: str) -> dict[str, Any]:
    """Detectors and segmenters would fetch their backbone's weights."""
    backbone = any(word in name for word in ("rcnn", "ssd", "retinanet", "fcos", "deeplab", "fcn", "lraspp"))
    return {"weights_backbone": None} if backbone else {}


def _parameters_without_values(module: Any) -> None:
    """Each parameter goes to the meta device when it is registered, so that giants cost nothing; buffers stay real."""
    register = module.register_parameter

    def registered(self: Any, name: str, parameter: Any) -> None:
        register(self, name, parameter)
        if parameter is not None:
            self._parameters[name] = type(parameter)(parameter.to("meta"), requires_grad=parameter.requires_grad)

    module.register_parameter = registered


def main() -> None:
    """One line of the table for each fingerprint; models that cannot be made are named."""
    import torch

    _parameters_without_values(torch.nn.Module)
    table: dict[str, list[str]] = defaultdict(list)
    for name, make in _made():
        if name.startswith("torchvision:quantized"):
            continue
        try:
            state = make().state_dict()
            table[fingerprint({key: tuple(value.shape) for key, value in state.items()})].append(name)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
    lines = [f"{json.dumps(key)}: {json.dumps(table[key])}" for key in sorted(table)]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{TABLE}: {sum(map(len, table.values()))} models, {len(table)} fingerprints")


if __name__ == "__main__":
    main()
