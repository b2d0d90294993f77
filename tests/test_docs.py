"""The documents say what the code does: the reference is current, every command is in it, and generated calls work."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import tiny_detector
from pydantic import BaseModel

from generator import model_config
from generator.cli import run
from generator.plugin import family
from generator.serving import Serving

FAMILIES = ("frontends", "heads", "nms", "passes", "preprocessing", "postprocessing", "precisions", "backends", "accelerators")


def script(root: Path, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, root / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current(root: Path) -> None:
    assert (root / "docs" / "reference.md").read_text() == script(root, "reference").reference(), "run: make docs"


def test_the_table_of_config_fields_is_current(root: Path) -> None:
    assert (root / "docs" / "config.md").read_text() == script(root, "config_table").page(), "run: make docs"


def test_the_table_of_config_fields_has_every_field_and_every_short_form(root: Path) -> None:
    """The samples that it is made of say all that `serving:` and the target can say."""
    table = script(root, "config_table")
    unsaid = leaves(Serving) - said({"serving": sample.get("serving", {})} for sample in table.SAMPLES)
    assert not unsaid, f"say them in SAMPLES of scripts/config_table.py: {sorted(unsaid)}"
    rows = [line.split("|") for line in (root / "docs" / "config.md").read_text().splitlines() if line.startswith("| `")]
    paths = [row[1].strip(" `") for row in rows]
    assert paths == [path for path, _, _ in table.fields(model_config.descriptor())]
    assert len(paths) == len(set(paths)) > 150
    by_path = {row[1].strip(" `"): row[4].strip(" `") for row in rows}
    assert by_path["dynamic_batching.max_queue_delay_microseconds"] == "serving.dynamic_batching.max_queue_delay_us"
    assert by_path["optimization.cuda.graphs"] == "config.ROLE.optimization.cuda.graphs"


def leaves(model: type[BaseModel], above: str = "serving") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        options = [field.annotation, *getattr(field.annotation, "__args__", ())]
        below = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        found |= leaves(below, f"{above}.{name}") if below else {f"{above}.{name}"}
    return found


def said(samples: Iterable[dict[str, Any]], above: str = "") -> set[str]:
    found: set[str] = set()
    for sample in samples:
        for name, value in sample.items():
            found |= {f"{above}{name}"} | (said([value], f"{above}{name}.") if isinstance(value, dict) else set())
            # `version_policy: all` says the field of that name
            found |= {f"{above}{name}.{value}"} if isinstance(value, str) else set()
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_every_choice_is_one_documented_file(root: Path, name: str) -> None:
    choices = family(f"generator.{name}")
    files = {p.stem for p in (root / "generator" / name).glob("*.py")} - {"__init__"}
    assert {cls.__module__.rpartition(".")[2] for cls in choices.values()} == files
    for kind, cls in choices.items():
        assert cls.__doc__, kind
        for field, info in cls.model_fields.items():
            assert field == "kind" or info.description, f"{kind}.{field} has no description"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, server: Callable[..., Any]) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("docs")
    spec = tiny_detector.write(folder / "specs", seed=31)
    assert run(["build", str(spec), "-o", str(folder / "repo")]) == 0
    return folder, server(folder / "repo")


def block(readme: Path, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", readme.read_text(), re.S)
    assert found
    return found.group(1)


@pytest.mark.parametrize("model", ["tiny", "tiny_model", "tiny_preprocess", "tiny_postprocess"])
def test_the_python_call_of_a_generated_readme_works(
    served: tuple[Path, Any], model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, server = served
    code = block(folder / "repo" / model / "README.md", "python").replace("127.0.0.1:8001", server.grpc_url)
    capsys.readouterr()
    exec(code.replace("photo.jpg", str(folder / "specs" / "tall.jpg")), {})
    assert re.search(r"det_boxes \[\[|geometry \[\[", capsys.readouterr().out)


def test_the_curl_call_of_a_generated_readme_works(served: tuple[Path, Any]) -> None:
    folder, server = served
    code = block(folder / "repo" / "tiny" / "README.md", "sh").replace("http://127.0.0.1:8000", server.http_url)
    done = subprocess.run(
        ["sh", "-ec", code.replace("photo.jpg", str(folder / "specs" / "tall.jpg"))], capture_output=True, text=True, check=True
    )
    assert '"name":"det_labels"' in done.stdout, done.stdout[:500]


def test_help_answers_at_once() -> None:
    import sys

    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "generator.cli", "--help"], capture_output=True, text=True, check=True
    )
    imported = {
        line.rsplit("|", 1)[1].strip().split(".")[0] for line in done.stderr.splitlines() if line.startswith("import time:")
    }
    assert not imported & {"torch", "onnx", "onnxruntime", "tritonclient", "cv2", "matplotlib", "numpy"}
