"""The dynamic batcher: preferred sizes, priorities and queue policies (core, src/model_config_utils.cc, ValidateModelConfig)."""

from __future__ import annotations

from collections.abc import Iterator

from generator.rules import Model, Problem, World, rule

_SOURCE = "core, src/model_config_utils.cc, ValidateModelConfig"
_DELAY = 1  # ModelQueuePolicy.TimeoutAction


@rule("batching/preferred", source=_SOURCE)
def preferred(model: Model, world: World) -> Iterator[Problem]:
    """Preferred batch sizes are between 1 and max_batch_size."""
    config = model.config
    batcher = config.sequence_batching.oldest if config.sequence_batching.HasField("oldest") else config.dynamic_batching
    path = "sequence_batching.oldest" if config.sequence_batching.HasField("oldest") else "dynamic_batching"
    for index, size in enumerate(batcher.preferred_batch_size):
        field = f"{path}.preferred_batch_size[{index}]"
        if size <= 0:
            yield Problem(field, str(size), "1 or more", "remove it")
        elif size > config.max_batch_size:
            yield Problem(field, str(size), f"at most max_batch_size, {config.max_batch_size}", "raise that, or remove the size")


@rule("batching/priorities", source=_SOURCE)
def priorities(model: Model, world: World) -> Iterator[Problem]:
    """With priority levels there is a default level, and queue policies are for levels that exist."""
    batcher = model.config.dynamic_batching
    levels = batcher.priority_levels
    if not levels:
        return
    if not 1 <= batcher.default_priority_level <= levels:
        found = str(batcher.default_priority_level)
        yield Problem(
            "dynamic_batching.default_priority_level", found, f"1 to {levels}", "say which level requests have by default"
        )
    for level in sorted(batcher.priority_queue_policy):
        if not 1 <= level <= levels:
            field = f"dynamic_batching.priority_queue_policy[{level}]"
            yield Problem(field, f"level {level}", f"1 to {levels}", "correct the level, or raise priority_levels")


@rule("batching/preserve_ordering", source=_SOURCE)
def ordering(model: Model, world: World) -> Iterator[Problem]:
    """Answers in order allow one priority level and no delayed requests."""
    batcher = model.config.dynamic_batching
    if not batcher.preserve_ordering:
        return
    if batcher.priority_levels > 1:
        found = f"true with {batcher.priority_levels} priority levels"
        yield Problem("dynamic_batching.preserve_ordering", found, "at most one level", "choose one of the two")
    policies = {"default_queue_policy": batcher.default_queue_policy}
    policies |= {f"priority_queue_policy[{level}]": policy for level, policy in sorted(batcher.priority_queue_policy.items())}
    for name, policy in policies.items():
        if policy.default_timeout_microseconds and policy.timeout_action == _DELAY:
            field = f"dynamic_batching.{name}.timeout_action"
            yield Problem(field, "DELAY with preserve_ordering", "REJECT", "choose one of the two")
