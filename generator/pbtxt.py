"""config.pbtxt: message <-> text, with protobuf's own writer and reader."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import model_config
from generator.errors import RepositoryError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.text_format import Tokenizer
    from tritonclient.grpc.model_config_pb2 import ModelConfig

#: No config needs more; the largest of a hundred public ones has 40 kB. A larger file is refused before it is parsed.
MAX_BYTES = 2_000_000
_NO_FIELD = re.compile(r'Message type "inference\.([\w.]+)" (?:has|should not have|does not have)? ?.*field named "(\w+)"')
_NO_ENUM = re.compile(r'Enum type "inference\.([\w.]+)" has no value (?:named|with number) "?([\w-]+)"?')


def text(config: ModelConfig, comments: Mapping[str, str] | None = None) -> str:
    """As config.pbtxt. A `max_batch_size` of 0 is written out, which text_format would leave to be guessed.

    `comments` says by field path what stands behind it, as `# ...` at the end of the line on which the field begins.
    """
    from google.protobuf import text_format

    body = text_format.MessageToString(config, as_utf8=True)
    if not config.max_batch_size:
        body = f"max_batch_size: 0\n{body}"
    return _commented(body, comments) if comments else body


def _commented(body: str, comments: Mapping[str, str]) -> str:
    """A comment on the first line of each field that has one, and differs from that of the field around it."""
    told = {number: comments[path] for path, number in lines(body).items() if path in comments}
    written = body.split("\n")
    for number, comment in told.items():
        written[number - 1] += f"  # {comment}"
    return "\n".join(written)


def parse(source: str, where: str = "config.pbtxt") -> ModelConfig:
    """The message. Raises RepositoryError with line and column."""
    from google.protobuf import text_format

    try:
        return text_format.Parse(source, model_config.new())
    except text_format.ParseError as error:
        line = f"{where}:{error.GetLine()}" if error.GetLine() else where
        what = str(error).partition(" : ")[2] if error.GetLine() else str(error)
        raise RepositoryError(f"{line}: {_short(what)}", _remedy(str(error))) from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise RepositoryError(f"{where}: not a config: {_short(str(error))}", "write a text-format ModelConfig") from None


def _short(message: str) -> str:
    """protobuf quotes the whole line in front of what it says; a line of rubbish is long."""
    return message.rpartition("': ")[2][:300].replace("\n", " ").rstrip(".")


def _remedy(message: str) -> str:
    if found := _NO_FIELD.search(message):
        known = [f.name for f in _message(found[1]).fields]
        close = difflib.get_close_matches(found[2], known, n=1)
        return f"did you mean {close[0]!r}?" if close else f"{found[1]} has {', '.join(sorted(known))}"
    if found := _NO_ENUM.search(message):
        names = [v.name for v in model_config.schema().DESCRIPTOR.pool.FindEnumTypeByName(f"inference.{found[1]}").values]
        return f"one of {', '.join(names)}"
    return "correct the line"


def _message(name: str) -> Descriptor:
    found: Descriptor = model_config.schema().DESCRIPTOR.pool.FindMessageTypeByName(f"inference.{name}")
    return found


def source(path: Path) -> str:
    """The text of a config.pbtxt. Raises RepositoryError for one that cannot be one."""
    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except OSError as error:
        raise RepositoryError(f"{path}: {error.strerror}", "make it readable, or name another repository") from None
    if data is None:
        raise RepositoryError(f"{path}: {path.stat().st_size} bytes, a config has at most {MAX_BYTES}", "is this the right file?")
    try:
        found = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RepositoryError(f"{path}:{line}: not UTF-8 text ({error.reason})", "save the file as UTF-8") from None
    if found.startswith("\ufeff"):
        raise RepositoryError(f"{path}:1: begins with a byte order mark, which tritonserver does not read", "save it without one")
    return found


def read(path: Path) -> ModelConfig:
    """Read a config.pbtxt. Raises RepositoryError."""
    return parse(source(path), str(path))


@functools.lru_cache(maxsize=256)
def lines(source: str) -> Mapping[str, int]:
    """Field path (as in generator/draft.py) -> the line on which it begins, 1-based; empty for text that cannot be read."""
    from google.protobuf import text_format

    try:
        tokenizer = text_format.Tokenizer(source.split("\n"))
        return _first(_fields(tokenizer, model_config.descriptor(), ""))
    except (text_format.ParseError, ValueError, KeyError, RecursionError):
        return {}  # `parse` says what is wrong with it


def _first(places: Iterable[tuple[str, int]]) -> dict[str, int]:
    """A field that is written several times begins where it comes first."""
    found: dict[str, int] = {}
    for path, number in places:
        found.setdefault(path, number)
    return found


def _line(tokens: Tokenizer) -> int:
    """Where the current token stands, from 1; protobuf counts from 0 and has no public word for it."""
    return int(tokens._line) + 1  # type: ignore[attr-defined]


def _fields(tokens: Tokenizer, message: Descriptor, end: str) -> Iterator[tuple[str, int]]:
    """The fields of a message up to its closing bracket, each with those below it."""
    count: dict[str, int] = {}
    while not tokens.AtEnd():
        if end and tokens.TryConsume(end):
            return
        line, name = _line(tokens), tokens.ConsumeIdentifier()
        field = message.fields_by_name[name]
        tokens.TryConsume(":")
        if tokens.TryConsume("["):
            yield field.name, line
            while not tokens.TryConsume("]"):
                yield from _one(tokens, field, count, _line(tokens))
                tokens.TryConsume(",")
        else:
            yield from _one(tokens, field, count, line)
        _ = tokens.TryConsume(",") or tokens.TryConsume(";")


def _one(tokens: Tokenizer, field: FieldDescriptor, count: dict[str, int], line: int) -> Iterator[tuple[str, int]]:
    """One value of a field: its path and those below it."""
    kind = field.message_type
    if kind is None:
        _value(tokens)
        below: dict[str, int] = {}
    else:
        close = ">" if tokens.TryConsume("<") else "}"
        if close == "}":
            tokens.Consume("{")
        if kind.GetOptions().map_entry:
            yield from _entry(tokens, field, line, close)
            return
        below = _first(_fields(tokens, kind, close))
    path = field.name
    if field.is_repeated:
        path = f"{field.name}[{count.setdefault(field.name, 0)}]"
        if count[field.name] == 0:
            yield field.name, line
        count[field.name] += 1
    yield path, line
    yield from ((f"{path}.{name}", number) for name, number in below.items())


def _entry(tokens: Tokenizer, field: FieldDescriptor, line: int, close: str) -> Iterator[tuple[str, int]]:
    """`{ key: K value ... }` of a map: what lies in the value goes by `field[K]`."""
    below, kind = {}, field.message_type
    assert kind is not None
    number = kind.fields_by_name["key"].cpp_type != kind.fields_by_name["key"].CPPTYPE_STRING
    key = "0" if number else ""  # a key that is left out is the type's zero
    while not tokens.TryConsume(close):
        name = tokens.ConsumeIdentifier()
        tokens.TryConsume(":")
        if name == "key":
            key = str(int(_value(tokens), 0)) if number else _value(tokens)
        else:
            below = _first(_one(tokens, kind.fields_by_name["value"], {}, _line(tokens)))
        _ = tokens.TryConsume(",") or tokens.TryConsume(";")
    yield field.name, line
    yield f"{field.name}[{key}]", line
    yield from ((f"{field.name}[{key}]{path.removeprefix('value')}", number) for path, number in below.items() if path != "value")


def _value(tokens: Tokenizer) -> str:
    """Consume a scalar; its text, strings unescaped."""
    if tokens.token[:1] in ("'", '"'):
        return str(tokens.ConsumeString())
    sign = "-" if tokens.TryConsume("-") else ""
    if tokens.AtEnd():
        raise ValueError("the text ends in the middle")
    found: Any = tokens.token
    tokens.NextToken()
    return f"{sign}{found}"
