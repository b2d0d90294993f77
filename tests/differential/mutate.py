"""Ways to break a repository. Each takes `draw` (hypothesis) and changes what it is given; it says what it did."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from differential import seeds
from generator.rules import version_of

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from differential.seeds import Folder, Repository

#: Not mutated: the file name of a python model (a wrong one has this server load for ever), what the wheel's server lacks
#: (repository agents are libraries; later fields have a test of their own), or what means nothing on a machine without GPU.
SKIPPED = {"model_repository_agents", "secondary_devices", "runtime", "max_inflight_requests", "default_model_filename"}
INTEGERS = (-2, -1, 0, 1, 2, 3, 4, 8, 16, 100)
FLOATS = (-1.0, 0.0, 0.5, 1.0, 2.0)
#: No "1a", which the server takes for version 1 and then finds no model.py in 1: it never answers (tests/test_rules_files.py).
FOLDERS = ("0", "01", "2", "v1", "-1", "x", "warmup", "configs", "initial_state", "10")


@dataclass
class Place:
    """A field of a message that is set; `index` counts in a repeated one, `key` is that of a map."""

    path: str
    message: Message
    field: FieldDescriptor
    index: int | None = None
    key: Any = None


@dataclass
class Case:
    """A repository with what was done to it; `target` is the model to load."""

    seed: str
    target: str
    repository: Repository
    changes: list[str]


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _holds_messages(field: FieldDescriptor) -> bool:
    """Are a map's values messages?"""
    entry = field.message_type
    return entry is not None and entry.fields_by_name["value"].message_type is not None


def places(message: Message, path: str = "") -> Iterator[Place]:
    """Every set field, depth first."""
    for field, value in message.ListFields():
        here = f"{path}.{field.name}" if path else field.name
        if field.name in SKIPPED:
            continue
        if _is_map(field):
            for key in sorted(value):
                yield Place(f"{here}[{key}]", message, field, key=key)
                if _holds_messages(field):
                    yield from places(value[key], f"{here}[{key}]")
        elif field.is_repeated:
            for index, item in enumerate(value):
                yield Place(f"{here}[{index}]", message, field, index)
                if field.message_type:
                    yield from places(item, f"{here}[{index}]")
        else:
            yield Place(here, message, field)
            if field.message_type:
                yield from places(value, here)


def _delete(draw: Callable[..., Any], folder: Folder) -> str:
    assert folder.config is not None
    place = draw(st.sampled_from(list(places(folder.config))))
    container = getattr(place.message, place.field.name)
    if place.key is not None:
        del container[place.key]
    elif place.index is not None:
        del container[place.index]
    else:
        place.message.ClearField(place.field.name)
    return f"delete {place.path}"


def _duplicate(draw: Callable[..., Any], folder: Folder) -> str:
    assert folder.config is not None
    found = [p for p in places(folder.config) if p.index is not None]
    if not found:
        return ""
    place = draw(st.sampled_from(found))
    container = getattr(place.message, place.field.name)
    item = container[place.index]
    container.extend([copy.deepcopy(item)])
    return f"duplicate {place.path}"


def _change(draw: Callable[..., Any], folder: Folder) -> str:
    assert folder.config is not None
    scalars = [p for p in places(folder.config) if p.field.message_type is None]
    if not scalars:
        return ""
    place = draw(st.sampled_from(scalars))
    words = sorted({str(v) for p in scalars if p.field.type == FieldDescriptor.TYPE_STRING for v in [_value(p)]})
    value = draw(_values(place.field, words))
    try:
        _set(place, value)
    except ValueError:  # a negative number for an unsigned field
        return ""
    return f"change {place.path} to {value!r}"


def _value(place: Place) -> Any:
    container = getattr(place.message, place.field.name)
    return container if place.index is None else container[place.index]


def _set(place: Place, value: Any) -> None:
    if place.index is None:
        setattr(place.message, place.field.name, value)
    else:
        getattr(place.message, place.field.name)[place.index] = value


def _values(field: FieldDescriptor, words: list[str]) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        assert field.enum_type is not None
        return st.sampled_from([value.number for value in field.enum_type.values])
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return st.sampled_from([*words, "", "other", "1", "ensemble", "python"])
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return st.sampled_from(FLOATS)
    # a hundred instances of a python model are a hundred processes
    return st.sampled_from(INTEGERS[:5] if field.name == "count" else INTEGERS)


def _rekey(draw: Callable[..., Any], folder: Folder) -> str:
    assert folder.config is not None
    entries = [p for p in places(folder.config) if p.key is not None]
    if not entries:
        return ""
    place = draw(st.sampled_from(entries))
    container = getattr(place.message, place.field.name)
    key = draw(st.sampled_from((0, 2, 9) if isinstance(place.key, int) else ("OTHER", "IN", "OUT", "")))
    if key in container:
        return ""
    if _holds_messages(place.field):
        container[key].CopyFrom(container[place.key])
    else:
        container[key] = container[place.key]
    del container[place.key]
    return f"key of {place.path} becomes {key!r}"


def _add(draw: Callable[..., Any], folder: Folder) -> str:
    assert folder.config is not None
    messages = [
        ("", folder.config),
        *((p.path, _value(p)) for p in places(folder.config) if p.field.message_type and p.key is None),
    ]
    path, message = draw(st.sampled_from(messages))
    free = [f for f in message.DESCRIPTOR.fields if f.name not in SKIPPED and not _is_map(f)]
    free = [f for f in free if f.is_repeated or f not in [found for found, _ in message.ListFields()]]
    if not free:
        return ""
    field = draw(st.sampled_from(free))
    target = getattr(message, field.name)
    if field.message_type:
        target.add() if field.is_repeated else target.SetInParent()
        return f"add {path}.{field.name} {{}}"
    value = draw(_values(field, ["IN", "OUT", "a"]))
    try:
        target.append(value) if field.is_repeated else setattr(message, field.name, value)
    except ValueError:
        return ""
    return f"add {path}.{field.name} {value!r}"


def _graft(draw: Callable[..., Any], folder: Folder) -> str:
    """A part of another model's config, whole."""
    other: Any
    name, other = draw(st.sampled_from(sorted(seeds.singles().items())))
    assert folder.config is not None
    field = draw(st.sampled_from([f.name for f, _ in other.config.ListFields() if f.name not in ("backend", "input", "output")]))
    folder.config.MergeFrom(type(folder.config)(**{field: getattr(other.config, field)}))
    return f"merge {field} of {name}"


def _folder(draw: Callable[..., Any], folder: Folder) -> str:
    tops = sorted({path.split("/")[0] for path in folder.files if "/" in path} | folder.folders)
    what = draw(st.sampled_from(("rename", "remove", "add", "file", "config")))
    if what == "config":
        folder.config = None
        return "remove config.pbtxt"
    if what == "add":
        new = draw(st.sampled_from(FOLDERS))
        folder.folders.add(new)
        if "1/model.py" in folder.files:
            folder.files[f"{new}/model.py"] = folder.files["1/model.py"]
        return f"add folder {new}"
    data = sorted(path for path in folder.files if not path.endswith(".py"))
    if what == "file" and data:
        path = draw(st.sampled_from(data))
        short = draw(st.booleans())
        folder.files[path] = folder.files[path][:-1] if short else folder.files.pop(path)
        if not short:
            del folder.files[path]
            folder.folders |= {path.rpartition("/")[0]} - {""}
        return f"{'shorten' if short else 'remove'} {path}"
    if not tops or what == "file":
        return ""
    top = draw(st.sampled_from(tops))
    new = draw(st.sampled_from(FOLDERS)) if what == "rename" else None
    if new in tops:
        return ""
    _move(folder, top, new)
    return f"rename folder {top} to {new}" if new else f"remove folder {top}"


def _move(folder: Folder, top: str, new: str | None) -> None:
    for path in [p for p in folder.files if p.startswith(f"{top}/")]:
        data = folder.files.pop(path)
        if new:
            folder.files[f"{new}/{path.partition('/')[2]}"] = data
    if top in folder.folders:
        folder.folders.discard(top)
        folder.folders |= {new} if new else set()


_CONFIG = (_delete, _duplicate, _change, _change, _change, _rekey, _add, _add, _graft)


@st.composite
def cases(draw: Callable[..., Any]) -> Case:
    """A valid repository, broken in no, one or two places."""
    repositories: dict[str, Repository] = {name: {name: folder} for name, folder in seeds.singles().items()} | seeds.ensembles()
    seed = draw(st.sampled_from(sorted(repositories)))
    repository = copy.deepcopy(repositories[seed])
    target = "ensemble" if "ensemble" in repository else seed
    changes: list[str] = []
    for _ in range(draw(st.sampled_from((1, 1, 1, 1, 1, 2, 2, 0)))):
        name = draw(st.sampled_from([target] * 3 + sorted(repository)))
        folder = repository[name]
        how = draw(st.sampled_from((*_CONFIG, _folder)))
        if folder.config is not None and (what := how(draw, folder)):
            changes.append(f"{name}: {what}")
    if target in repository and draw(st.sampled_from((False,) * 15 + (True,))) and len(repository) > 1:
        gone = draw(st.sampled_from(sorted(set(repository) - {target})))
        del repository[gone]
        changes.append(f"remove model {gone}")
    for folder in repository.values():
        _settle(folder)
    return Case(seed, target, repository, changes)


def _settle(folder: Folder) -> None:
    """No python version without its model.py: server 2.51 loads that for ever, which tests/test_rules_files.py shows once."""
    if "1/model.py" not in folder.files and not any(path.endswith("/model.py") for path in folder.files):
        return
    code = next(data for path, data in sorted(folder.files.items()) if path.endswith("/model.py"))
    for name in {path.split("/")[0] for path in folder.files if "/" in path} | folder.folders:
        if version_of(name) is not None:
            folder.files.setdefault(f"{name}/model.py", code)
    if folder.config is not None and folder.config.version_policy.HasField("specific"):
        policy = folder.config.version_policy.specific
        versions = list(dict.fromkeys(policy.versions))
        del policy.versions[:]
        policy.versions.extend(versions)
