"""An installed wheel is whole: it carries the templates, and finds them away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import tiny_detector


def test_the_wheel_builds_a_repository_by_itself(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        root,
        source,
        ignore=shutil.ignore_patterns(".git", ".venv", "weights", "model_repository", "*.egg-info", "build", "bench"),
    )
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("triton_repo_generator-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    templates = {
        str(p.relative_to(root / "templates"))
        for p in (root / "templates").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert {f"generator/_templates/{name}" for name in templates} <= names
    assert {"generator/environments/tabular.txt", "generator/converters/child.py"} <= names
    assert not any(name.startswith("tests/") for name in names)
    spec = tiny_detector.write(tmp_path / "specs", seed=51)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    build = [sys.executable, "-m", "generator.cli", "build", str(spec), "-o", str(tmp_path / "repo")]
    done = subprocess.run(build, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where = [sys.executable, "-c", "import generator.paths as p; print(p.templates())"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(tmp_path / "site" / "generator" / "_templates")
    assert (tmp_path / "repo" / "tiny_preprocess" / "1" / "model.py").is_file()
