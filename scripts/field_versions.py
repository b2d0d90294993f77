"""Writes generator/field_versions.json: since which tritonserver each field and enum value of model_config.proto is known.

Every release of tritonclient carries the schema of the server of its own version. `python scripts/field_versions.py` downloads
each from the index and reads the descriptor out of the module that protoc made, without importing it.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "generator" / "field_versions.json"
_MODULE = "tritonclient/grpc/model_config_pb2.py"
_LITERAL = r"""(b'(?:[^'\\]|\\.)*'|b"(?:[^"\\]|\\.)*")"""
_SERIALIZED = re.compile(rf"AddSerializedFile\({_LITERAL}\)|serialized_pb={_LITERAL}", re.DOTALL)


def releases() -> list[str]:
    """Every version on the index, oldest first; of several builds of one version the last."""
    said = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "tritonclient"], check=True, capture_output=True, text=True
    ).stdout
    line = next(line for line in said.splitlines() if line.startswith("Available versions:"))
    versions = [version.strip() for version in line.partition(":")[2].split(",")]
    return sorted(versions, key=lambda version: tuple(map(int, version.split("."))))


def schema(version: str, folder: Path) -> descriptor_pb2.FileDescriptorProto | None:
    """The schema in that release; None where no wheel of it can be had."""
    target = folder / version
    command = ["-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command += ["--platform=manylinux1_x86_64", "--platform=any"]
    done = subprocess.run(
        [sys.executable, *command, "-d", str(target), f"tritonclient=={version}"], check=False, capture_output=True, text=True
    )
    wheel = next(iter(target.glob("*.whl")), None) if done.returncode == 0 else None
    if wheel is None:
        return None
    with zipfile.ZipFile(wheel) as archive:
        name = next((name for name in archive.namelist() if name.endswith(_MODULE)), None)
        found = _SERIALIZED.search(archive.read(name).decode()) if name else None
    return descriptor_pb2.FileDescriptorProto.FromString(ast.literal_eval(found[1] or found[2])) if found else None


def words(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """`ModelConfig.name`, `ModelInstanceGroup.Kind.KIND_CPU` for every field and enum value."""
    for enum in file.enum_type:
        yield from (f"{enum.name}.{value.name}" for value in enum.value)
    for message in file.message_type:
        yield from _message(message, message.name)


def _message(message: descriptor_pb2.DescriptorProto, name: str) -> Iterator[str]:
    yield from (f"{name}.{field.name}" for field in message.field)
    for enum in message.enum_type:
        yield from (f"{name}.{enum.name}.{value.name}" for value in enum.value)
    for inner in message.nested_type:
        if not inner.options.map_entry:
            yield from _message(inner, f"{name}.{inner.name}")


def main() -> None:
    """Download, compare, write."""
    found = releases()
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(4) as pool:
        schemas = dict(zip(found, pool.map(lambda version: schema(version, Path(scratch)), found), strict=True))
    known = {version: set(words(file)) for version, file in schemas.items() if file is not None}
    since: dict[str, str] = {}
    until: dict[str, str] = {}
    for version, names in known.items():
        for name in names:
            since.setdefault(name, version)
            until[name] = version
    newest = next(reversed(known))
    table = {
        "oldest": next(iter(known)),
        "newest": newest,
        "without_wheel": [version for version, file in schemas.items() if file is None],
        "since": dict(sorted(since.items())),
        "removed_after": {name: version for name, version in sorted(until.items()) if version != newest},
    }
    TARGET.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"{len(known)} releases from {table['oldest']} to {newest}, {len(since)} fields and values: {TARGET}")


if __name__ == "__main__":
    main()
