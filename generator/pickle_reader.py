"""What a pickle describes, without unpickling it: its opcodes are followed on a stack that holds descriptions only.

`pickletools.genops` takes the stream apart; this machine does what each opcode would do to the stack, but a global is its name, a
call is a note of what would have been called with what, and a tensor is its type and shape. Nothing is imported, nothing from
the file is called, and no attribute of anything is looked up, so there is nothing in it that a hostile file could reach.
Work and memory are bounded by the number of opcodes; long strings are stepped over.
"""

from __future__ import annotations

import mmap
import pickletools
from collections.abc import Callable
from typing import IO, Any, cast

from generator.pickle_notes import Global, Made, Pickle, plain

#: More opcodes than any checkpoint with a sane number of tensors has (RT-DETR pickled whole: 104,000).
MOST_OPCODES = 300_000
#: Longer strings (arrays kept inline) are stepped over.
_LONG = 1 << 16


class Source:
    """Bytes as pickletools reads them; nothing longer than `_LONG` is copied."""

    def __init__(self, data: bytes | mmap.mmap, at: int = 0) -> None:
        self.data = data
        self.at = at

    def read(self, count: int) -> bytes:
        """The next `count` bytes; a `_Skipped` of that length where they are many."""
        start, end = self.at, min(self.at + max(count, 0), len(self.data))
        self.at = end
        return _Skipped(end - start) if end - start > _LONG else self.data[start:end]

    def readline(self) -> bytes:
        """The next line, at most `_LONG` bytes of it."""
        end = self.data.find(b"\n", self.at, self.at + _LONG)
        return self.read(end + 1 - self.at if end >= 0 else _LONG)

    def tell(self) -> int:
        """The place of the next byte."""
        return self.at


class _Skipped(bytes):
    """Bytes that were stepped over: nothing, of their length."""

    length: int

    def __new__(cls, length: int) -> _Skipped:
        self = super().__new__(cls)
        self.length = length
        return self

    def __len__(self) -> int:
        return self.length


#: Makes a description from the arguments of a call; may raise TypeError, ValueError, IndexError or AttributeError.
Builder = Callable[..., Any]


def read(source: Source, builders: dict[str, Builder] | None = None) -> Pickle:
    """Describe the pickle at `source`, which stands behind it afterwards. Never raises for what the file holds.

    `builders` is the closed list of calls that are described by more than a note, by the name of what is called.
    """
    machine = _Machine(source, builders or {})
    broken = ""
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(IO[bytes], source))):
            if count >= MOST_OPCODES:
                broken = f"more than {MOST_OPCODES:,} opcodes"
                break
            machine.step(opcode.name, argument)
    except _Bad as error:
        broken = str(error)
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError, UnicodeError) as error:
        broken = str(error) or type(error).__name__
    return Pickle(machine.top(), tuple(machine.globals), broken)


class _Bad(Exception):  # noqa: N818 -- never leaves this file
    """The stack does not hold what an opcode needs."""


#: Opcodes whose argument is the value that they push.
_VALUES = frozenset(
    name
    for name in (opcode.name for opcode in pickletools.opcodes)
    if name.endswith(("BYTES", "BYTES8", "STRING", "UNICODE", "UNICODE8", "FLOAT", "ARRAY8"))
    or name in ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = frozenset(("PROTO", "FRAME", "STOP", "READONLY_BUFFER"))


class _Machine:
    def __init__(self, source: Source, builders: dict[str, Builder]) -> None:
        self.source = source
        self.builders = builders
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[str, None] = {}

    def top(self) -> Any:
        return self.stack[0] if self.stack else None

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _PUTS:
            self.memo[argument] = self.stack[-1]
        elif name in _GETS:
            self.stack.append(self.memo[argument])
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self.stack.append(tuple(self._last(_TUPLES[name])))
        elif name not in _NOTHING:
            getattr(self, f"_{name.lower()}")(argument)

    def _last(self, count: int) -> list[Any]:
        if len(self.stack) < count + (self.marks[-1] if self.marks else 0):
            raise _Bad("the stack is empty")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _marked(self) -> list[Any]:
        if not self.marks:
            raise _Bad("no mark")
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def _mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def _pop(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self._last(1)

    def _pop_mark(self, _: Any) -> None:
        self._marked()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _empty_set(self, _: Any) -> None:
        self.stack.append(Made("builtins.set"))

    def _list(self, _: Any) -> None:
        self.stack.append(self._marked())

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._marked()))

    def _frozenset(self, _: Any) -> None:
        self.stack.append(Made("builtins.frozenset", elements=self._marked()))

    def _dict(self, _: Any) -> None:
        items = self._marked()
        self.stack.append({})
        self._put_items(items)

    def _append(self, _: Any) -> None:
        self._put_elements(self._last(1))

    def _appends(self, _: Any) -> None:
        self._put_elements(self._marked())

    _additems = _appends

    def _setitem(self, _: Any) -> None:
        self._put_items(self._last(2))

    def _setitems(self, _: Any) -> None:
        self._put_items(self._marked())

    def _put_elements(self, elements: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Made):
            target.elements += elements
        elif isinstance(target, list):
            target += elements
        else:
            raise _Bad(f"{type(target).__name__} takes no elements")

    def _put_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        held = target.items if isinstance(target, Made) else target
        if not isinstance(held, dict):
            raise _Bad(f"{type(target).__name__} takes no items")
        held.update((key, value) for key, value in zip(items[::2], items[1::2], strict=False) if plain(key))

    def _global(self, argument: str) -> None:
        self._named(*argument.split(" ", 1))

    def _stack_global(self, _: Any) -> None:
        self._named(*self._last(2))

    def _named(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Bad("a global without a name")
        full = f"{_RENAMED.get(module, module)}.{name}"
        self.globals[full] = None
        self.stack.append(Global(full))

    def _reduce(self, _: Any) -> None:
        target, arguments = self._last(2)
        self.stack.append(self._call(target, arguments))

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        target, arguments, _named = self._last(3)
        self.stack.append(self._call(target, arguments))

    def _inst(self, argument: str) -> None:
        arguments = tuple(self._marked())
        self._named(*argument.split(" ", 1))
        self.stack.append(self._call(self.stack.pop(), arguments))

    def _obj(self, _: Any) -> None:
        target, *arguments = self._marked()
        self.stack.append(self._call(target, tuple(arguments)))

    def _call(self, target: Any, arguments: Any) -> Any:
        if not isinstance(target, Global) or not isinstance(arguments, tuple):
            return Made("")
        builder = self.builders.get(target.name)
        try:
            return builder(*arguments) if builder else Made(target.name, arguments)
        except (TypeError, ValueError, IndexError, AttributeError):
            return Made(target.name, arguments)

    def _build(self, _: Any) -> None:
        (state,) = self._last(1)
        target = self.stack[-1]
        if not isinstance(target, Made):
            return
        target.state = state
        builder = self.builders.get(f"{target.name}.__setstate__")
        if builder:
            try:
                builder(target, self.source)
            except (TypeError, ValueError, IndexError, AttributeError, KeyError):
                raise _Bad(f"{target.name} in a form that is not known") from None

    def _persid(self, argument: str) -> None:
        self.stack.append(Made("persistent id", (argument,)))

    def _binpersid(self, _: Any) -> None:
        (identity,) = self._last(1)
        builder = self.builders.get("persistent id")
        try:
            self.stack.append(builder(identity) if builder else Made("persistent id", (identity,)))
        except (TypeError, ValueError, IndexError):
            self.stack.append(Made("persistent id", (identity,)))

    def _next_buffer(self, _: Any) -> None:
        self.stack.append(Made("buffer"))

    def _ext1(self, argument: Any) -> None:
        self.globals[f"copyreg extension {argument}"] = None
        self.stack.append(Global(f"copyreg extension {argument}"))

    _ext2 = _ext4 = _ext1


#: Modules of Python 2 that unpickling renames.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
