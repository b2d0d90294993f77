"""Files of the python backend."""

from __future__ import annotations

from collections.abc import Iterator

from generator.rules import Model, Problem, World, rule


@rule("python/model_file", source="python_backend, src/pb_stub.cc, Stub::Initialize")
def model_file(model: Model, world: World) -> Iterator[Problem]:
    """Each version that is served has its model.py; without it server 2.51 never ends the load."""
    if model.config.backend != "python":
        return
    name = model.config.default_model_filename or "model.py"
    for version in model.served:
        if f"{version}/{name}" not in model.files and name not in model.files:
            yield Problem(
                "default_model_filename", f"no file {version}/{name}", "the python model", "add it, or correct the name"
            )
