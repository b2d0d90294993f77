"""Metrics of a model (core, src/model_config_utils.cc, ValidateModelMetrics)."""

from __future__ import annotations

from collections.abc import Iterator

from generator.rules import Model, Problem, World, rule


@rule("metrics/control", source="core, src/model_config_utils.cc, ValidateModelMetrics")
def control(model: Model, world: World) -> Iterator[Problem]:
    """A metric control names the metric's family and the histogram's buckets."""
    for index, item in enumerate(model.config.model_metrics.metric_control):
        path = f"model_metrics.metric_control[{index}]"
        if not item.metric_identifier.family:
            yield Problem(f"{path}.metric_identifier.family", "nothing", "a metric's family", "say which metric")
        if not item.histogram_options.buckets:
            yield Problem(f"{path}.histogram_options.buckets", "none", "at least one bound", "say the bounds, ascending")
