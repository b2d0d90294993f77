"""YAML -> `Spec`. Every error is `file.yaml:LINE: where: what is wrong; what to do`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from generator import variants
from generator.errors import SpecError
from generator.folder_spec import FolderSpec
from generator.plugin import Choice, family
from generator.spec import Spec, Variant

Loc = tuple[int | str, ...]

#: No pipeline needs more; a larger file is refused before it is parsed.
MAX_BYTES = 1_000_000
MAX_DEPTH = 20


class _Float(float):
    """A number that remembers how it was written: 24.10 is not 24.1 where it names a release."""

    text: str


class _Int(int):
    """The same for 0x10 and 010."""

    text: str


class _Loader(yaml.SafeLoader):
    """YAML as it is, with numbers that have a `text`, as written."""


def _float(loader: _Loader, node: yaml.ScalarNode) -> _Float:
    number = _Float(loader.construct_yaml_float(node))
    number.text = str(node.value)
    return number


def _int(loader: _Loader, node: yaml.ScalarNode) -> _Int:
    number = _Int(loader.construct_yaml_int(node))
    number.text = str(node.value)
    return number


_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)


def load(path: Path) -> Spec:
    """Read one pipeline's spec. Raises SpecError with the file and line of the first mistake, and all others below it."""
    return _read(path, _compose(path), Spec)


def load_any(path: Path) -> Spec | FolderSpec:
    """Read one spec: of a model folder where it says `folder:`, else of a pipeline. Raises SpecError."""
    root = _compose(path)
    return _read(path, root, FolderSpec) if _pair(root, "folder") else _read(path, root, Spec)


class Loaded(NamedTuple):
    """A spec, the file it stands in, and which of its variants it is ("" for the spec itself)."""

    path: Path
    spec: Spec | FolderSpec
    variant: str = ""


_Said = TypeVar("_Said", Spec, FolderSpec)


def _read(path: Path, root: yaml.MappingNode, kind: type[_Said], variant: str = "") -> _Said:
    said = _construct(path, root)
    try:
        whole = variants.merged(said, variant) if variant else said
        return kind.model_validate(whole, context={"base": path.resolve().parent})
    except ValidationError as error:
        details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] == "missing")  # a typo explains it
        places = [variants.place(said, variant, detail["loc"]) if variant else detail["loc"] for detail in details]
        lines = [_message(path, (root, place), detail, kind) for place, detail in zip(places, details, strict=True)]
        raise SpecError("\n".join(dict.fromkeys(lines))) from None


def load_all(paths: Sequence[Path]) -> list[Loaded]:
    """Read several specs, each followed by its variants. Raises SpecError where two would write a model of one name."""
    loaded = [one for path in paths for one in _with_variants(path)]
    owner: dict[str, Path] = {}
    for path, spec, _ in loaded:
        steps = spec.steps if isinstance(spec, Spec) else ()
        for name in [spec.name, *(f"{spec.name}_{step}" for step in steps)]:
            if name in owner:
                raise SpecError(
                    f"{path}:{line_of(path, ('name',))}: name: the model {name!r} is already made by {owner[name]}", "rename one"
                )
            owner[name] = path
    return loaded


def _with_variants(path: Path) -> list[Loaded]:
    spec = load_any(path)
    root, names = _compose(path), spec.variants if isinstance(spec, Spec) else ()
    return [Loaded(path, spec), *(Loaded(path, _read(path, root, Spec, name), name) for name in names)]


def line_of(path: Path, loc: Loc, variant: str = "") -> int:
    """The line on which the value at `loc` of the spec, or of one of its variants, stands, 1-based."""
    return _line(_compose(path), _placed(path, loc, variant))


def place(path: Path, loc: Loc, variant: str) -> str:
    """`file.yaml:LINE: where` of the value at `loc` of the spec, or of one of its variants."""
    said = _placed(path, loc, variant)
    whose = f" (variant {variant})" if variant and said[:1] != (variants.KEY,) else ""
    return f"{path}:{line_of(path, loc, variant)}: {'.'.join(map(str, said))}{whose}"


def _placed(path: Path, loc: Loc, variant: str) -> Loc:
    return variants.place(_construct(path, _compose(path)), variant, loc) if variant else loc


def _compose(path: Path) -> yaml.MappingNode:
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}", "name a YAML file, such as ensembles/yolov4_tiny.yaml") from None
    if len(text) > MAX_BYTES:
        raise SpecError(f"{path}: {len(text)} bytes, a spec has at most {MAX_BYTES}", "is this the right file?")
    try:
        _refuse_tricks(path, text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark: Any = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise SpecError(f"{path}:{line}: not YAML: {getattr(error, 'problem', None) or error}", "correct the syntax") from None
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(f"{path}:1: expected `name: ...`, `checkpoint: ...` and so on", "see `triton-repo schema`")
    _refuse_duplicates(path, node)
    return node


def _refuse_tricks(path: Path, text: bytes) -> None:
    """Aliases (which can explode) and nesting that no spec needs, found while parsing, before anything is built from it."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise SpecError(f"{path}:{line}: aliases (*{event.anchor}) are not used in specs", "write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise SpecError(f"{path}:{line}: nested more than {MAX_DEPTH} deep", "a spec is five or six levels deep")


def _refuse_duplicates(path: Path, node: yaml.Node) -> None:
    for mapping in _mappings(node):
        seen: set[Any] = set()
        for key, _ in mapping.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise SpecError(f"{path}:{line}: a list or a mapping cannot be a key", "write `key: value`")
            # a key that is plain text needs no constructor; 7.1 and 7.10 are one number
            value = key.value if _is_text(key) else _construct(path, key)
            if value in seen or key.value in seen:
                raise SpecError(f"{path}:{line}: {key.value!r} is said twice", "remove one")
            seen |= {value, key.value}


def _mappings(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    if isinstance(node, yaml.MappingNode):
        yield node
    for child in _children(node):
        yield from _mappings(child)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [value for _, value in node.value]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _construct(path: Path, node: yaml.Node) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SpecError(f"{path}:{line}: {error.problem}", "write plain text, numbers, lists and mappings") from None
    finally:
        loader.dispose()


def _line(node: yaml.Node, loc: Loc) -> int:
    """Follow `loc` as far as the YAML goes; pydantic's own steps (union tags) are passed over."""
    line = node.start_mark.line + 1
    for step in loc:
        if isinstance(node, yaml.MappingNode):
            pair = _pair(node, step)
            if pair:
                line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _pair(node: yaml.MappingNode, step: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    """Key and value under `step`, which may be a number (or what else YAML reads) where the key is one, however it is written."""
    return next(((key, value) for key, value in node.value if key.value == str(step) or _reads_as(key, step)), None)


def _reads_as(key: yaml.Node, step: int | str) -> bool:
    return not _is_text(key) and str(_construct(Path(), key)) == str(step)


def _is_text(key: yaml.Node) -> bool:
    return key.tag.rpartition(":")[2] in ("str", "merge", "value")


def _message(path: Path, at: tuple[yaml.Node, Loc], detail: ErrorDetails, top: type[BaseModel]) -> str:
    root, place = at
    loc = _without_tags(root, place, detail["type"])
    where = f"{path}:{_line(root, loc)}: {'.'.join(str(step) for step in loc) or 'spec'}"
    what = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key{_did_you_mean(detail, top)}"
    if detail["type"] == "missing":
        return f"{where}: missing; it has to be said"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        found = repr(detail["ctx"]["tag"]) if detail["type"] == "union_tag_invalid" else "none"
        return f"{where}: kind: found {found}, expected one of {', '.join(map(repr, _kinds(detail['loc'])))}"
    if detail["type"].startswith("value_error"):
        return f"{where}: {what}"
    found = "nothing" if detail["input"] is None else _short(detail["input"])
    if detail["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return f"{where}: found {found}; expected a mapping, `KEY: VALUE` a line, or the line left out"
    return f"{where}: found {found}; {what[:1].lower()}{what[1:]}"


def _without_tags(root: yaml.Node, loc: Loc, kind: str) -> Loc:
    """`checkpoint.darknet.cfg` -> `checkpoint.cfg`: union tags are pydantic's, not the user's."""
    node, kept = root, []
    for index, step in enumerate(loc):
        if isinstance(node, yaml.MappingNode):
            child = (_pair(node, step) or (None, None))[1]
            last = index == len(loc) - 1
            if child is None and not (last and kind in ("missing", "extra_forbidden")):
                continue
            node = child if child is not None else node
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        elif not isinstance(step, int) and not (
            isinstance(node, yaml.ScalarNode) and index == len(loc) - 1 and kind == "missing"
        ):
            continue
        kept.append(step)
    return tuple(kept)


def _did_you_mean(detail: ErrorDetails, top: type[BaseModel]) -> str:
    known = _known_keys(detail["loc"], top)
    key = str(detail["loc"][-1])
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
    return f" {key!r}; {hint}" if known else f" {key!r}; see `triton-repo schema`"


def _known_keys(loc: Loc, top: type[BaseModel]) -> list[str]:
    """The fields of the model that pydantic stood in when it met an unknown key."""
    model: type[BaseModel] | None = top
    for step in loc[:-1]:
        field = model.model_fields.get(str(step)) if model else None
        if field is None:
            continue
        package = _package(field.metadata, field.annotation)
        annotation = field.annotation
        if package:
            choices = family(package)
            tag = next((str(t) for t in loc[loc.index(step) + 1 :] if isinstance(t, str)), "")  # behind the place in a list
            model = choices.get(tag) or (next(iter(choices.values())) if len(choices) == 1 else None)
        else:
            options = [annotation, *getattr(annotation, "__args__", ())]
            model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    return sorted(model.model_fields) if model else []


def _kinds(loc: Loc) -> list[str]:
    """The choices of the family that a top-level key holds."""
    inside = loc[0] == variants.KEY
    field = (Variant if inside else Spec).model_fields[str(loc[2 if inside else 0])]
    return list(family(_package(field.metadata, field.annotation)))


def _package(metadata: Sequence[Any], annotation: Any) -> str:
    candidates = [*metadata, *(m for arg in getattr(annotation, "__args__", ()) for m in getattr(arg, "__metadata__", ()))]
    return next((c.package for c in candidates if isinstance(c, Choice)), "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
