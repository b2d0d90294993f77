"""Writes cases to disk, asks the checker and the real server about each, and puts the two verdicts side by side."""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator import check, pbtxt
from generator.findings import Finding
from generator.server import Server

if TYPE_CHECKING:
    from differential.mutate import Case

#: What the wheel's server is, for the checker.
SERVER = (2, 51)
BACKENDS = frozenset({"python", "onnxruntime"})
_AT_ONCE = 6
_PATIENCE = 15.0  # seconds; some mistakes have the server load for ever


@dataclass(frozen=True)
class Verdict:
    """One case: did the server load it, did the checker pass it, and what each of them said."""

    number: int
    case: Case
    loaded: bool
    reason: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Did the checker find nothing that the server would refuse?"""
        return not self.findings

    @property
    def agree(self) -> bool:
        """Same verdict?"""
        return self.loaded == self.passed

    def __str__(self) -> str:
        """A paragraph for the report."""
        said = "; ".join(f"{f.rule} {f.field}: {f.found}" for f in self.findings) or "nothing"
        server = "loads it" if self.loaded else f"refuses it: {self.reason}"
        done = "; ".join(self.case.changes) or "unchanged"
        return f"#{self.number} {self.case.seed}: {done}\n  server {server}\n  checker finds {said}"


def prefix(number: int) -> str:
    """Models of all cases lie in one repository; this keeps them apart."""
    return f"c{number:05}_"


def write(case: Case, number: int, repository: Path) -> None:
    """The case's models, their names prefixed wherever they name each other."""
    names = set(case.repository)
    for name, folder in case.repository.items():
        target = repository / (prefix(number) + name)
        target.mkdir(parents=True)
        for path, data in folder.files.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(data)
        for inner in folder.folders:
            (target / inner).mkdir(parents=True, exist_ok=True)
        if folder.config is not None:
            config = copy.deepcopy(folder.config)
            if config.name in names:
                config.name = prefix(number) + config.name
            for step in config.ensemble_scheduling.step if config.HasField("ensemble_scheduling") else ():
                if step.model_name in names or any(step.model_name == n for n in ("a", "b", "c", "inner", "ensemble")):
                    step.model_name = prefix(number) + step.model_name
            (target / "config.pbtxt").write_text(pbtxt.text(config), encoding="utf-8")


def judge(cases: Sequence[Case], repository: Path, *, strict: bool) -> list[Verdict]:
    """Both verdicts on every case. `repository` is an empty folder; `strict` forbids the server to complete configs."""
    for number, case in enumerate(cases):
        write(case, number, repository)
    world, unreadable = check.read(repository, server=SERVER, gpus=0, backends=BACKENDS, strict=strict)
    errors: dict[str, list[Finding]] = {}
    for finding in [*unreadable, *check.check(world)]:
        if finding.level == "error":
            errors.setdefault(finding.model, []).append(finding)
    loaded = _served(cases, repository, strict)
    return [
        Verdict(number, case, *loaded[number], tuple(errors.get(prefix(number) + case.target, ())))
        for number, case in enumerate(cases)
    ]


def _served(cases: Sequence[Case], repository: Path, strict: bool) -> dict[int, tuple[bool, str]]:
    """Load each case in explicit mode. Those under way when the server ended, or stood still, are tried again, each alone."""
    found: dict[int, tuple[bool, str]] = {}
    waiting = list(range(len(cases)))
    while waiting:
        answers, ill = _session(cases, waiting, repository, strict)
        found |= answers
        waiting = [number for number in waiting if number not in answers]
        suspects, waiting = (waiting[: 2 * _AT_ONCE], waiting[2 * _AT_ONCE :]) if ill else ([], waiting)
        for number in suspects:
            found |= _session(cases, [number], repository, strict)[0] or {
                number: (False, "no answer: the server ends, or loads for ever")
            }
    return found


def _session(
    cases: Sequence[Case], numbers: Sequence[int], repository: Path, strict: bool
) -> tuple[dict[int, tuple[bool, str]], bool]:
    """The answers of one server, and whether it ended, or stood still, before it had answered all."""
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    with Server(repository, model_control="explicit", strict=strict) as server:  # noqa: SIM117 -- the line would be too long
        with triton.InferenceServerClient(server.grpc_url) as client:
            stuck = threading.Event()

            def load(number: int) -> tuple[bool, str] | None:
                name = prefix(number) + cases[number].target
                if stuck.is_set():
                    return None
                try:
                    client.load_model(name, client_timeout=_PATIENCE)
                    client.unload_model(name, unload_dependents=True)
                except InferenceServerException as error:
                    if server.ended or error.status() in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"):
                        stuck.set()
                        return None
                    return False, str(error.message())
                return True, ""

            with ThreadPoolExecutor(_AT_ONCE) as pool:
                answers = dict(zip(numbers, pool.map(load, numbers), strict=True))
            log = server.log
            if stuck.is_set():
                server.kill()
    return {n: (a[0], _reason(log, n) or a[1]) for n, a in answers.items() if a is not None}, stuck.is_set()


def _reason(log: str, number: int) -> str:
    """The server's first error line about the case."""
    lines = [line for line in log.splitlines() if line.startswith("E") and prefix(number) in line]
    # said of every ensemble on a machine without GPU, and no reason for anything
    return next((line.split("] ", 1)[-1] for line in lines if "unable to create stream" not in line), "")


def group(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    """Disagreements by what the server said, names and numbers left out."""
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if not verdict.agree:
            what = verdict.reason if verdict.passed else "accepts; " + ", ".join(sorted({f.rule for f in verdict.findings}))
            found.setdefault(re.sub(r"c\d{5}_\w+|\d+", "*", what), []).append(verdict)
    return found
