"""Everything is said in pyproject.toml but this: the wheel carries templates/, which lies beside the package, inside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithTemplates(build_py):
    """Copies templates/ to generator/_templates, where `generator.paths` looks first. An editable install needs no copy."""

    def run(self) -> None:
        """The usual build, then the copy."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "generator" / "_templates"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree("templates", target, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithTemplates})
