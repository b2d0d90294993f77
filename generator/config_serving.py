"""The short forms of `serving:` -> fields of a ModelConfig, each with the place where the user said it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.draft import DEFAULT, Draft, Loc, Origin

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from generator.parts import Part
    from generator.plugin import Model
    from generator.serving import InstanceGroup, Serving

#: Our names of fields whose name in model_config.proto is another.
_FIELDS = {
    "preferred_batch_sizes": "preferred_batch_size",
    "max_queue_delay_us": "max_queue_delay_microseconds",
    "action": "timeout_action",
    "timeout_us": "default_timeout_microseconds",
}


def said(model: Model, name: str, above: Loc = ()) -> Origin:
    """The user's word where the YAML says `name` of `model`, which stands at `above`; else our default."""
    return Origin("spec", (*above, name)) if name in model.model_fields_set else DEFAULT


def versions(draft: Draft, serving: Serving) -> None:
    """What holds for every model of a pipeline: the versions that are served."""
    policy = serving.version_policy
    if policy is None:
        return
    chosen = getattr(draft.config.version_policy, policy.choice)
    chosen.SetInParent()
    if policy.latest is not None:
        chosen.num_versions = policy.latest
    if policy.specific is not None:
        chosen.versions.extend(policy.specific)
    draft.note("version_policy", Origin("spec", ("serving", "version_policy")))
    draft.note(f"version_policy.{policy.choice}", Origin("spec", ("serving", "version_policy", policy.choice)))


def batching(draft: Draft, serving: Serving) -> None:
    """The dynamic batcher; left out where it is switched off or the model takes no batches, by default also for batches of 1."""
    wanted, origin = serving.dynamic_batching, said(serving, "dynamic_batching", ("serving",))
    least = 2 if origin == DEFAULT else 1
    if wanted is None or draft.config.max_batch_size < least:
        return
    draft.config.dynamic_batching.SetInParent()
    draft.note("dynamic_batching", origin)
    loc: Loc = ("serving", "dynamic_batching")
    _copy(draft, draft.config.dynamic_batching, "dynamic_batching", wanted, loc)
    if wanted.default_queue_policy is not None:
        target = draft.config.dynamic_batching.default_queue_policy
        target.SetInParent()
        draft.note("dynamic_batching.default_queue_policy", Origin("spec", (*loc, "default_queue_policy")))
        _copy(draft, target, "dynamic_batching.default_queue_policy", wanted.default_queue_policy, (*loc, "default_queue_policy"))


def instances(draft: Draft, serving: Serving, role: str, device: str) -> None:
    """The instance group of one step; on `device` where the spec does not say."""
    group: InstanceGroup = getattr(serving.instances, role)
    kind = f"KIND_{(group.kind or device).upper()}"
    made = draft.config.instance_group.add(count=group.count, kind=kind, gpus=group.gpus)
    if group.host_policy is not None:
        made.host_policy = group.host_policy
    loc: Loc = ("serving", "instances")
    draft.note("instance_group", said(serving.instances, role, loc))
    for name in group.model_fields_set - {"count"}:
        draft.note(f"instance_group[0].{name}", Origin("spec", (*loc, role, name)))


def answers(draft: Draft, serving: Serving, part: Part) -> None:
    """What holds for the model that clients call: the response cache, and labels of its outputs."""
    if serving.response_cache:
        draft.config.response_cache.enable = True
        draft.note("response_cache", Origin("spec", ("serving", "response_cache")))
    for index, output in enumerate(draft.config.output):
        name = part.own_name(output.name)
        if name in serving.labels:
            output.label_filename = labels_file(name)
            draft.note(f"output[{index}].label_filename", Origin("spec", ("serving", "labels", name)))


def labels_file(output: str) -> str:
    """What the labels of an output are called in the model folder."""
    return f"labels.{output}.txt"


def _copy(draft: Draft, target: Message, path: str, source: Model, loc: Loc) -> None:
    """Every scalar that was said, under its name in model_config.proto."""
    for name in sorted(source.model_fields_set):
        field = target.DESCRIPTOR.fields_by_name[_FIELDS.get(name, name)]
        value = getattr(source, name)
        if field.message_type is not None:
            continue
        if field.is_repeated:
            getattr(target, field.name).extend(value)
        else:
            setattr(target, field.name, field.enum_type.values_by_name[value.upper()].number if field.enum_type else value)
        draft.note(f"{path}.{field.name}", Origin("spec", (*loc, name)))
