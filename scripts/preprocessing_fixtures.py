"""Makes tests/fixtures/preprocessing from the training code itself. Runs in an environment that has it, not in the project's own.

    CONFORMANCE_SOURCES=sources python scripts/preprocessing_fixtures.py [KIND ...]

docs/preprocessing.md says what to install and which checkouts to put into `sources`. A library that is missing, and a picture
that a library cannot take, is printed and left out.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import conformance
from conformance import pictures


def main(kinds: list[str]) -> int:
    """Make each kind's fixture; 1 where one could not be made."""
    failed = 0
    for kind in kinds or sorted(info.name for info in pkgutil.iter_modules(conformance.__path__)):
        maker = importlib.import_module(f"conformance.{kind}")
        if not hasattr(maker, "ALL"):
            continue
        try:
            version = maker.version()
            results = list(_results(kind, maker))
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            print(f"{kind}: {type(error).__name__}: {error}")
            failed = 1
            continue
        path = pictures.save(kind, version, results)
        print(f"{kind}: {version}, {len(results)} of {len(maker.ALL)} cases, {path.stat().st_size} bytes")
    return failed


def _results(kind: str, maker: Any) -> Iterator[tuple[pictures.Case, NDArray[np.float32], tuple[float, ...]]]:
    for case in maker.ALL:
        try:
            tensor, box = maker.make(pictures.picture(case.picture).copy(), case.height, case.width, **case.said)
        except (ImportError, OSError, subprocess.CalledProcessError):
            raise
        except Exception as error:  # whatever the library raises for a picture that it cannot take
            print(f"  {kind}: {case}: {type(error).__name__}: {error}")
            continue
        assert tensor.shape == (3, case.height, case.width), (kind, case, tensor.shape)
        yield case, np.asarray(tensor, np.float32), box


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
