"""Do configs that others wrote survive? text -> message -> text -> message, on the files that docs/public_configs.json names.

    python benchmarks/public_configs.py                          downloads each at its commit
    python benchmarks/public_configs.py --mirrors DIR            reads them from git mirrors (DIR/OWNER/NAME.git, OWNER+NAME/repo)
    python benchmarks/public_configs.py --mirrors DIR --collect  first makes the list anew from the mirrors in DIR

The list holds repository, commit, path and sha256; nothing of the files enters the project. Prints
docs/public_configs.md. Fails when a config comes back as another one, when the line of a field is not found, when tritonserver
(`--no-server` leaves it away) reads what we cannot or the other way round, and when the list has become too short.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import public_configs_server
import public_configs_sources as sources
from public_configs_sources import Public

from generator import pbtxt
from generator.draft import parent
from generator.errors import RepositoryError, ToolError, TritonRepoError

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from tritonclient.grpc.model_config_pb2 import ModelConfig

DOCS = Path(__file__).resolve().parent.parent / "docs"
#: What the round trip is to show at the least.
CONFIGS, REPOSITORIES = 100, 25
#: Behind every field of the written text, to see that a reader skips it; what could end a comment, a string or a message.
_COMMENT = "spec: config.name \"'{}[]<>\\ # \N{SNOWMAN}"


#: So many of a kind are printed.
_SHOWN = 20


@dataclass(frozen=True)
class Outcome:
    """What became of one file: why it is no config, what changed on the way, and what `pbtxt.lines` says wrong of it."""

    public: Public
    unreadable: str = ""
    changed: tuple[str, ...] = ()
    misplaced: tuple[str, ...] = ()
    fields: int = 0

    @property
    def equal(self) -> bool:
        """Did the config survive the round trip?"""
        return not self.unreadable and not self.changed


def judge(public: Public, path: Path) -> Outcome:
    """Send the config at `path` through the reader and the writer twice, and look for the line of each of its fields."""
    raw = path.read_bytes().decode("utf-8", "replace")
    misplaced: list[str] = []
    found: Mapping[str, int] = {}
    try:
        found = pbtxt.lines(raw)
    except Exception as error:  # it is to answer for every text
        misplaced.append(f"raised {type(error).__name__}: {error}")
    try:
        config = pbtxt.read(path)
    except RepositoryError as error:
        return Outcome(public, unreadable=_reason(error, path), misplaced=tuple(misplaced))
    fields = list(populated(config))
    misplaced += unplaced(raw, found, fields)
    return Outcome(public, changed=tuple(round_trip(config)), misplaced=tuple(misplaced), fields=len(fields))


def _reason(error: RepositoryError, path: Path) -> str:
    where = error.message.removeprefix(str(path)).removeprefix(":").strip()
    return f"line {where}" if re.match(r"\d+: ", where) else where


def round_trip(config: ModelConfig) -> Iterator[str]:
    """What our writer lost or changed of `config`; nothing when it comes back equal, plain and with comments."""
    written = pbtxt.text(config)
    try:
        back = pbtxt.parse(written)
        told = pbtxt.parse(pbtxt.text(config, dict.fromkeys(populated(config), _COMMENT)))
    except RepositoryError as error:
        yield f"what was written cannot be read: {error.message}"
        return
    if not _same(back, config):
        yield "the message that comes back is another one"
    if pbtxt.text(back) != written:
        yield "the second text is another one"
    if not _same(told, config):
        yield "with comments, the message that comes back is another one"


def _same(one: ModelConfig, other: ModelConfig) -> bool:
    """Equal, and the same bytes on the wire."""
    return bool(one == other) and one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def populated(message: Message, path: str = "") -> Iterator[str]:
    """The paths (as in generator/draft.py) of all that is set in a message."""
    values: list[tuple[Any, Any]] = list(message.ListFields())
    for field, value in values:
        here = f"{path}.{field.name}" if path else field.name
        yield here
        for place, item in _items(here, value):
            if place != here:
                yield place
            if hasattr(item, "ListFields"):
                yield from populated(item, place)


def _items(path: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(f"{path}[{key}]", item) for key, item in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    return [(path, value)]


def unplaced(raw: str, found: Mapping[str, int], fields: Sequence[str]) -> Iterator[str]:
    """The fields whose line `pbtxt.lines` does not know, or puts where they do not begin.

    A field begins where its name is written, a list or a map not after its first element.
    """
    text = raw.split("\n")
    first: dict[str, int] = {}
    for path in (path for path in fields if path.endswith("]") and path in found):
        first[parent(path)] = min(found[path], first.get(parent(path), found[path]))
    for path in fields:
        if path not in found:
            yield f"no line for {path}"
        elif path.endswith("]"):
            continue
        elif found[path] > first.get(path, found[path]) or not re.search(
            rf"\b{path.rpartition('.')[2]}\b", text[found[path] - 1]
        ):
            yield f"{path} is not on line {found[path]}"


def failures(outcomes: Sequence[Outcome]) -> list[str]:
    """Why the run proves nothing or finds a fault; empty when all is well."""
    found = [f"{o.public}: {what}" for o in outcomes for what in o.changed]
    found += [f"{o.public}: pbtxt.lines: {what}" for o in outcomes for what in o.misplaced]
    equal = [o for o in outcomes if o.equal]
    if len(equal) < CONFIGS:
        found.append(f"{len(equal)} configs came back equal, at least {CONFIGS} are to")
    if (repositories := len({o.public.repo for o in equal})) < REPOSITORIES:
        found.append(f"they are of {repositories} repositories, at least {REPOSITORIES} are expected")
    return found


def report(outcomes: Sequence[Outcome], server: str) -> str:
    """The page, as Markdown."""
    equal, unreadable = [o for o in outcomes if o.equal], [o for o in outcomes if o.unreadable]
    changed = [f"- {o.public.link}: {_cell(what)}" for o in outcomes for what in o.changed]
    misplaced = [f"- {o.public.link}: {_cell(what)}" for o in outcomes for what in o.misplaced]
    fields = sum(o.fields for o in outcomes)
    counts = [
        ("files, no two alike", len(outcomes)),
        ("repositories", len({o.public.repo for o in outcomes})),
        ("**configs that come back equal**", f"**{len(equal)}**, from {len({o.public.repo for o in equal})} repositories"),
        ("configs that come back changed", sum(bool(o.changed) for o in outcomes)),
        ("files that are no config as they stand", len(unreadable)),
        ("fields set in the configs", fields),
        ("fields whose line `pbtxt.lines` does not find", len(misplaced)),
    ]
    return "\n".join([
        "# Configs of public repositories", "",
        "Made by `benchmarks/public_configs.py` from the list in `public_configs.json` (repository, commit, path, sha256;",
        "nothing of their content is here). Each is sent text -> message -> text -> message. Equal means: equal messages,",
        "the same bytes on the wire, the same text the second time; and equal again with a comment behind each field.", "",
        "| | |", "|---|---|", *(f"| {name} | {count} |" for name, count in counts), "", server, "",
        "## Changed", "", *_some(changed), "",
        "## Lines not found", "", *_some(misplaced), "",
        "## By repository", "", "| repository | commit | files | equal | changed | no config |", "|---|---|---|---|---|---|",
        *_repositories(outcomes), "",
        "## No config as they stand", "",
        "Most are templates, to be filled in before tritonserver sees them; the others are mistakes of their authors.", "",
        "| file | reason |", "|---|---|", *(f"| {o.public.link} | {_cell(o.unreadable)} |" for o in unreadable), "",
    ])  # fmt: skip


def _some(found: Sequence[str]) -> list[str]:
    return [*found[:_SHOWN], *([f"- and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])] or ["None."]


def _repositories(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A table row for each repository."""
    states = Counter((o.public.repo, "equal" if o.equal else "none" if o.unreadable else "changed") for o in outcomes)
    for repo, commit in sorted({(o.public.repo, o.public.commit) for o in outcomes}, key=lambda pair: pair[0].lower()):
        counts = [states[repo, state] for state in ("equal", "changed", "none")]
        yield f"| [{repo}](https://github.com/{repo}) | {commit[:12]} | {sum(counts)} | {' | '.join(map(str, counts))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")[:160]


@click.command()
@click.option(
    "--mirrors", type=click.Path(path_type=Path), help="Read from the git mirrors in this folder, not from the network."
)
@click.option("--collect", is_flag=True, help="First make the list anew: every *config*.pbtxt in the mirrors.")
@click.option("--base-url", default=sources.BASE_URL, show_default=True, help="Where to download from without --mirrors.")
@click.option("--docs", type=click.Path(path_type=Path), default=DOCS, help="The folder of the list and of the page.")
@click.option("--server/--no-server", default=True, show_default=True, help="Ask a real tritonserver which of them it can read.")
def main(*, mirrors: Path | None, collect: bool, base_url: str, docs: Path, server: bool) -> None:
    """Read every public config of the list, judge it, and write the page."""
    try:
        run(mirrors, base_url, docs, collect=collect, server=server)
    except TritonRepoError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def run(mirrors: Path | None, base_url: str, docs: Path, *, collect: bool, server: bool) -> None:
    """The whole benchmark. Raises ToolError when a file cannot be had, RepositoryError when one does not survive."""
    listed = docs / "public_configs.json"
    if collect:
        if mirrors is None:
            raise ToolError("--collect looks through git mirrors, and none are named", "name their folder with --mirrors DIR")
        listed.write_text(sources.dump(sources.collect(mirrors)), encoding="utf-8")
    publics = sources.load(listed)
    with tempfile.TemporaryDirectory() as folder:
        files = sources.write(publics, sources.mirrored(mirrors) if mirrors else sources.web(base_url), Path(folder))
        outcomes = [judge(public, path) for public, path in files.items()]
        said = public_configs_server.ask(files, Path(folder)) if server else None
    text = report(outcomes, said.report() if said else "Not shown to a server this time.")
    (docs / "public_configs.md").write_text(text, encoding="utf-8")
    click.echo(text)
    if bad := [*failures(outcomes), *(said.disagreements if said else ())]:
        raise RepositoryError("\n       ".join(_some(bad)), "correct generator/pbtxt.py, or the list")


if __name__ == "__main__":
    main()
