"""A converter's process, from this side: started once for a checkpoint, asked line by line, ended with this process."""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from generator.errors import CheckpointError, ExportError
from generator.install import clean_environment

_SCRIPTS = Path(__file__).parent / "converters"
#: Frameworks are quiet, see no GPU (the environments have none of its libraries) and compute as they are documented.
_SETTINGS = {
    "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0", "GLOG_minloglevel": "2",
    "KERAS_BACKEND": "tensorflow", "PYTHONUNBUFFERED": "1",
}  # fmt: skip


class Converter:
    """One process; `said` is what the spec says of the checkpoint."""

    def __init__(self, python: str, script: str, said: str) -> None:
        self._said, self._script = json.loads(said), script
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- it lives as long as the process
        self._process = subprocess.Popen(
            [python, str(_SCRIPTS / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env={**clean_environment(), **_SETTINGS},
        )  # fmt: skip

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer of one action of the script. Raises CheckpointError for what it refuses, ExportError for what fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, "said": self._said, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        found: dict[str, Any] = json.loads(line)
        if "refused" in found:
            raise CheckpointError(found["refused"], found["remedy"])
        if "failed" in found:
            raise ExportError(f"{self._script} failed at {do}: {found['failed']}", "see docs/converters.md for what it converts")
        done: dict[str, Any] = found["done"]
        return done

    def _ended(self) -> ExportError:
        code = self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        telling = [line for line in lines if "rror" in line] or lines
        return ExportError(f"{self._script} ended with code {code}: {' / '.join(telling[-3:])[:600]}", "")


@functools.cache
def of(python: str, script: str, said: str) -> Converter:
    """The process for that checkpoint."""
    return Converter(python, script, said)
