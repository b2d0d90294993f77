"""The bare loop that the served ensemble is measured against: one process, one picture at a time, no server.

Runs in the server's own Python, so that decoder, letterbox, ONNX Runtime and NumPy are the files and versions the server uses.
Started by served_vs_loop.py. Each line on stdin is a number of seconds; each answer on stdout is one line of JSON.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


def load(path: Path) -> ModuleType:
    """A model.py of the repository as a module; nothing is written beside it."""
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location(f"served_{path.parent.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def pipeline(task: dict[str, Any]) -> Callable[[bytes], Any]:
    """Encoded bytes -> labelled boxes in the picture's pixels: the three steps of the ensemble, called one after the other."""
    import onnxruntime

    before, after = load(Path(task["preprocess"])), load(Path(task["postprocess"]))
    settings = before.Settings.from_config(task["config"])
    labels = after.read_labels(Path(task["labels"])) if task["labels"] else np.array([], dtype=np.object_)
    session = onnxruntime.InferenceSession(task["model"], providers=["CPUExecutionProvider"])  # default threads: every core
    name, names = session.get_inputs()[0].name, [output.name for output in session.get_outputs()]

    def one(data: bytes) -> Any:
        pixels, geometry = before.prepare(before.decode(data, settings.max_pixels), settings)
        found = dict(zip(names, session.run(names, {name: pixels[None]}), strict=True))
        return after.original({**found, "geometry": geometry[None]}, labels)

    return one


def timed(one: Callable[[bytes], Any], images: Sequence[bytes], seconds: float) -> dict[str, float]:
    """The loop for `seconds`: pictures a second, and the median time of one in milliseconds."""
    spent: list[float] = []
    begun = last = time.perf_counter()
    while last - begun < seconds:
        one(images[len(spent) % len(images)])
        now = time.perf_counter()
        spent.append(now - last)
        last = now
    return {"throughput": len(spent) / (last - begun), "p50_ms": float(np.median(spent)) * 1000, "count": len(spent)}


def main() -> None:
    """Say what was found in the pictures and with which versions, then measure on request."""
    import cv2
    import onnxruntime

    task = json.loads(sys.argv[1])
    one, images = pipeline(task), [Path(image).read_bytes() for image in task["images"]]
    found = [int(one(image)["num_dets"][0, 0]) for image in images]
    versions = {"onnxruntime": onnxruntime.__version__, "opencv": cv2.__version__, "numpy": np.__version__}
    print(json.dumps({"found": found, "versions": {**versions, "python": sys.version.split()[0]}}), flush=True)
    for line in sys.stdin:
        print(json.dumps(timed(one, images, float(line))), flush=True)


if __name__ == "__main__":
    main()
