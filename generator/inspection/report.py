"""Everything that can be said of one checkpoint without running it, from its format to its detector head."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from generator import architectures, file_kind, head_names, inspection, recognise, sized
from generator.architectures import Guess
from generator.errors import CheckpointError, TritonRepoError
from generator.file_kind import FileKind
from generator.frontends import Frontend, Interface
from generator.head_names import HeadGuess
from generator.heads import Head
from generator.inspection import Contents, Group
from generator.picture import read as read_picture
from generator.plugin import family
from generator.tensors import Tensor

#: DataParallel and DistributedDataParallel, torch.compile.
_WRAPPED = re.compile(r"((module|_orig_mod)\.)+")
#: Of a picture whose size the model leaves free.
SIZE = 640
#: A frontend's field for the file itself, in this order.
_FILE_FIELDS = ("file", "folder", "path", "model", "weights", "cfg")


@dataclass(frozen=True)
class Judged:
    """What a group of tensors seems to be, its names without `prefix`, which a wrapper put in front of all of them."""

    prefix: str
    shapes: dict[str, tuple[int, ...]]
    guesses: tuple[Guess, ...]

    @property
    def sure(self) -> Guess | None:
        """The one model of torchvision or timm that it is."""
        return self.guesses[0] if self.guesses and self.guesses[0].sure else None


@dataclass(frozen=True)
class Report:
    """What `triton-repo inspect` tells of one file."""

    path: Path
    kind: FileKind
    size: int
    contents: Contents
    #: Of each of `contents.groups`, in their order.
    judged: tuple[Judged, ...]
    #: As the checkpoint's kind reads it; None where it is known only once exported.
    interface: Interface | None
    #: Heads that take the outputs, filled in; more than one where shapes cannot tell.
    heads: tuple[Head, ...] = ()
    #: A head by the names of weights, where there are no outputs to judge.
    named_head: HeadGuess | None = None
    #: The kind of checkpoint, filled in as far as the file alone tells; None where the spec has to say more.
    frontend: Frontend | None = None
    #: Names of the classes, and what `preprocess:` says, as far as the file tells.
    labels: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Of the model, as far as known."""
        return self.interface.inputs if self.interface else self.contents.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Of the model, as far as known."""
        return self.interface.outputs if self.interface else self.contents.outputs

    @functools.cached_property
    def ends(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Inputs and outputs as surgery can make them: a batch of one freed, a picture's size set, outputs' sizes inferred."""
        both = freed((*self.inputs, *self.outputs))
        taken, given = both[: len(self.inputs)], both[len(self.inputs) :]
        picture = read_picture(taken)
        if picture is None or self.kind.kind != "onnx" or all(-1 not in tensor.shape for tensor in given):
            return taken, given
        size = [length if length > 0 else SIZE for length in picture.size]
        try:
            return taken, sized.outputs(self.path, picture.sized(*size), given)
        except TritonRepoError:
            return taken, given

    @property
    def library_model(self) -> Guess | None:
        """The one model of a library whose weights these are, where there is a kind of checkpoint for that library."""
        if self.kind.kind not in ("state_dict", "safetensors") or not self.judged:
            return None
        sure = self.judged[self.chosen].sure
        return sure if sure and sure.library in family("generator.frontends") else None

    @property
    def chosen(self) -> int:
        """Which group of weights to serve: the moving average where there is one, else the largest."""
        groups = self.contents.groups
        order = sorted(range(len(groups)), key=lambda at: (not groups[at].averaged, -groups[at].parameters, at))
        return order[0] if order else -1


def report(path: Path) -> Report:
    """Read one file or folder. Raises CheckpointError where it cannot be read, is damaged, or is no checkpoint that is known."""
    kind = _kind(path)
    if not kind.kind:
        raise CheckpointError(f"{path}: it looks like {kind.phrase}", kind.remedy or "name the checkpoint itself")
    contents = inspection.read(path, kind)
    frontend = _frontend(path, kind, contents)
    judged = tuple(_judged(group) for group in contents.groups)
    found = Report(path, kind, _size(path), contents, judged, None, frontend=frontend, labels=contents.labels)
    if contents.inputs and contents.outputs:  # what the kind itself would read, only slower
        return _with_heads(replace(found, interface=Interface(contents.inputs, contents.outputs)))
    return _with_heads(_told(found, frontend) if frontend else found)


def _kind(path: Path) -> FileKind:
    try:
        kind = file_kind.of(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}", "name a readable checkpoint") from None
    if kind is None:
        what = "a folder without a model that is known" if path.is_dir() else "no format that is known"
        raise CheckpointError(f"{path}: {what}", f"known are the kinds {', '.join(family('generator.frontends'))}")
    return kind


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def _judged(group: Group) -> Judged:
    """A prefix is what wrappers of torch put there, or what hides the names of a known model."""
    certain = "" if group.module else next((each for each in reversed(group.common) if _WRAPPED.fullmatch(each)), "")
    first = _behind(group, certain)
    if first.sure or group.module:
        return first
    others = (_behind(group, each) for each in group.common if len(each) > len(certain))
    return next((each for each in others if each.sure), first)


def _behind(group: Group, prefix: str) -> Judged:
    shapes = {name[len(prefix) :]: array.shape for name, array in group.tensors.items()}
    return Judged(prefix, shapes, tuple(architectures.guess(shapes)))


def file_field(kind: type[Frontend]) -> str:
    """The field that names the checkpoint's own file."""
    return next((name for name in _FILE_FIELDS if name in kind.model_fields), "file")


def _frontend(path: Path, kind: FileKind, contents: Contents) -> Frontend | None:
    cls: Any = family("generator.frontends").get(kind.kind)
    if cls is None:
        return None
    said: dict[str, Any] = {file_field(cls): path, **contents.fields}
    try:
        made: Frontend = cls.model_validate({name: value for name, value in said.items() if name in cls.model_fields})
    except ValueError:  # pydantic's own: the spec has to say more than the file tells
        return None
    return made


def _told(found: Report, frontend: Frontend) -> Report:
    """What the kind of checkpoint itself reads; where it refuses, its message is a note."""
    try:
        return replace(
            found,
            interface=frontend.interface(),
            labels=found.contents.labels or frontend.labels(),
            preprocessing=frontend.preprocessing(),
        )
    except TritonRepoError as error:
        return replace(found, notes=(str(error),))


def freed(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Tensors of a batch that is fixed at one, as they are once it is free; all others as they are."""
    if not all(not tensor.batched and tensor.shape[:1] == (1,) for tensor in tensors):
        return tensors
    return tuple(Tensor(tensor.name, tensor.dtype, tensor.shape[1:], True) for tensor in tensors)


def _with_heads(found: Report) -> Report:
    """By the outputs where those are known, else by the names of the weights that would be served."""
    if found.interface and found.interface.head:
        return replace(found, heads=(found.interface.head,))
    named = head_names.guess(found.judged[found.chosen].shapes) if found.judged else None
    taken, given = found.ends
    picture = read_picture(taken)
    if picture and given:
        heads = recognise.fitting(picture.planes, given, len(found.labels) or (named.classes if named else 0))
        preferred = [head for head in heads if named and head.kind == named.kind]
        return replace(found, heads=tuple(preferred or heads), named_head=named)
    return replace(found, named_head=named)
