"""hypothesis as a source of cases: so many, by seed, the same every time."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, seed, settings

from differential.mutate import Case, cases


def collect(count: int, number: int) -> list[Case]:
    """`count` cases from hypothesis seed `number`."""
    found: list[Case] = []

    @seed(number)
    @settings(max_examples=count, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases())
    def take(case: Case) -> None:
        found.append(case)

    take()
    return found[:count]
