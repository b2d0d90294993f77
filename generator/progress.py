"""What a person sees while steps run: one line a step, a spinner and the time while it lasts."""

from __future__ import annotations

import time
from types import TracebackType

from rich.status import Status

from generator.console import console
from generator.plan import Step


class StepProgress:
    """Told of each step before and after it; prints a line when it is done."""

    def __init__(self) -> None:
        self._console = console(stderr=True)
        self._status: Status | None = None
        self._started = 0.0

    def __enter__(self) -> StepProgress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, step: Step, outcome: str) -> None:
        """`outcome` is empty before the step."""
        if not outcome:
            self._started = time.monotonic()
            self._status = self._console.status(f"{step.id} ...")
            self._status.start()
            return
        if self._status is not None:
            self._status.stop()
        self._console.print(f"  {step.id}: {outcome} ({time.monotonic() - self._started:.1f} s)", soft_wrap=True)
