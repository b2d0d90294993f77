"""The benchmark of public configs finds what it looks for: on repositories made here, whose faults are known."""

from __future__ import annotations

import functools
import hashlib
import http.server
import itertools
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from generator import field_versions, model_config, pbtxt
from generator.errors import ToolError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import public_configs
import public_configs_server
import public_configs_sources as sources
from public_configs_sources import Public

ROOT = Path(__file__).resolve().parent.parent
GOOD = b'name: "m"\nbackend: "python"\nmax_batch_size: 8\ninput {\n  name: "x"\n  dims: 3\n  data_type: TYPE_FP32\n}\n'
FILES = {
    "config.pbtxt": GOOD,
    "models/a b/config.pbtxt": 'name: "ü"\r\nparameters {\r\n  key: "k"\r\n  value { string_value: "v" }\r\n}'.encode(),
    "models/copy/config.pbtxt": GOOD,
    "models/empty/config_cpu.pbtxt": b"",
    "templates/my_config_template.pbtxt": b"max_batch_size: ${N}\n",
    "labels.pbtxt": b"item {}\n",
    "config.pbtxt.md": b"no config\n",
}
#: Those that count: the right name, each content once.
LISTED = [path for path in FILES if path.split(".")[-1] == "pbtxt" and "config" in path and path != "models/copy/config.pbtxt"]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository of somebody's, with one commit."""
    folder = tmp_path / "checkout"
    for path, data in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")
    return folder


@pytest.fixture
def mirrors(checkout: Path, tmp_path: Path) -> Path:
    """A folder with one bare mirror of it, as ann/one."""
    folder = tmp_path / "mirrors"
    folder.mkdir()
    git(folder, "clone", "-q", "--bare", str(checkout), "ann/one.git")
    return folder


def at(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def public(path: str = "config.pbtxt", data: bytes = GOOD, repo: str = "ann/one") -> Public:
    return Public(repo, "0" * 40, path, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    "place", [["--bare", "ann/one.git"], ["--bare", "ann/one"], ["ann/one"], ["--bare", "ann+one/repo"], ["ann+one/repo"]]
)
def test_every_config_of_a_mirror_is_listed_once(checkout: Path, tmp_path: Path, place: list[str]) -> None:
    folder = tmp_path / "mirrors"
    folder.mkdir()
    git(folder, "clone", "-q", str(checkout), *place)
    found = sources.collect(folder)
    commit = git(checkout, "rev-parse", "HEAD")
    assert found == [Public("ann/one", commit, path, hashlib.sha256(FILES[path]).hexdigest()) for path in sorted(LISTED)]


def test_the_list_says_where_and_nothing_of_what(mirrors: Path, tmp_path: Path) -> None:
    found = sources.collect(mirrors)
    listed = at(tmp_path / "list.json", sources.dump(found).encode())
    assert sources.load(listed) == found
    (entry,) = json.loads(listed.read_bytes())
    assert sorted(entry) == ["commit", "files", "repo"]
    assert entry["files"] == {p.path: p.sha256 for p in found}


def test_the_same_content_in_another_repository_is_not_counted_again(mirrors: Path, checkout: Path) -> None:
    git(mirrors, "clone", "-q", "--bare", str(checkout), "bob/fork.git")
    assert {p.repo for p in sources.collect(mirrors)} == {"ann/one"}


def test_configs_of_other_programs_are_left_out(mirrors: Path, checkout: Path) -> None:
    at(checkout / "config.pbtxt", b"model_path: 'x'\n")
    git(checkout, "commit", "-q", "-a", "-m", "other")
    git(mirrors, "clone", "-q", "--bare", str(checkout), "kohry/delf_sample.git")
    assert {p.repo for p in sources.collect(mirrors)} == {"ann/one"}


def test_files_come_out_of_a_mirror_byte_for_byte(mirrors: Path, tmp_path: Path) -> None:
    written = sources.write(sources.collect(mirrors), sources.mirrored(mirrors), tmp_path / "out")
    assert {p.path: path.read_bytes() for p, path in written.items()} == {path: FILES[path] for path in LISTED}


@pytest.fixture
def web(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """Serves the checkout as OWNER/NAME/COMMIT/PATH; the address, and what was asked for."""
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            asked.append(path)
            return str(checkout / "/".join(super().translate_path(path).removeprefix(str(checkout)).split("/")[4:]))

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(checkout))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_files_are_downloaded_at_their_commit_and_once(mirrors: Path, tmp_path: Path, web: tuple[str, list[str]]) -> None:
    address, asked = web
    listed = sources.collect(mirrors)
    for folder in ("first", "second"):
        written = sources.write(listed, sources.web(address), tmp_path / folder)
        assert {p.path: path.read_bytes() for p, path in written.items()} == {path: FILES[path] for path in LISTED}
    assert sorted(asked) == sorted(f"/ann/one/{p.commit}/{p.path.replace(' ', '%20')}" for p in listed)


def test_a_file_that_is_gone_or_another_is_refused(tmp_path: Path, web: tuple[str, list[str]]) -> None:
    with pytest.raises(ToolError, match=r"/ann/one/0{40}/gone/config.pbtxt: HTTP Error 404.*connect this machine"):
        sources.write([public("gone/config.pbtxt")], sources.web(web[0]), tmp_path / "a")
    other = public(data=b"another")
    with pytest.raises(ToolError, match=r"ann/one:config.pbtxt has sha256 \w{64}, the list says"):
        sources.write([other], sources.web(web[0]), tmp_path / "b")
    assert not (tmp_path / "cache" / "public_configs" / other.sha256).exists()


MIRRORS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no mirror of it": (
        lambda m: list(sources.mirrored(m)([public(repo="bob/two")])),
        r"no mirror of bob/two; `git clone --bare",
    ),
    "no such commit": (
        lambda m: list(sources.mirrored(m)([public()])),
        r"has no config.pbtxt at 0{40}; bring the mirror up to date",
    ),
    "no folder": (lambda m: sources.mirrored(m / "none"), r"none: no such folder"),
    "an empty mirror": (
        lambda m: (git(m, "init", "-q", "--bare", "bob/two.git"), sources.collect(m)),
        r"two.git: git rev-parse: ",
    ),
    "no list": (lambda m: sources.load(m / "none.json"), r"none.json: not a list of public configs"),
    "another list": (
        lambda m: sources.load(at(m / "l.json", b'[{"repo": "a", "commit": "b", "files": []}]')),
        r"l.json: not a list",
    ),
}


@pytest.mark.parametrize("mistake", MIRRORS)
def test_what_cannot_be_had_is_said(mirrors: Path, mistake: str) -> None:
    act, message = MIRRORS[mistake]
    with pytest.raises(ToolError, match=message):
        act(mirrors)


UNREADABLE = {
    "a template": (b'name: "m"\nmax_batch_size: ${N}\n', "line 2: Couldn't parse integer"),
    "an unknown field": (b"\nmax_batch: 1\n", "line 2: "),
    "an unknown type": (b"input {\n  data_type: TYPE_BYTES\n}\n", "line 2: "),
    "latin-1": ('name: "ü"\n'.encode("latin-1"), "line 1: not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, "line 1: begins with a byte order mark"),
    "cut off": (GOOD[:-4], "line "),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_config_is_told_with_its_line(tmp_path: Path, case: str) -> None:
    data, reason = UNREADABLE[case]
    found = public_configs.judge(public(), at(tmp_path / "config.pbtxt", data))
    assert found.unreadable.startswith(reason)
    assert not found.equal
    assert not found.changed
    assert not found.misplaced


def test_every_field_of_a_config_is_looked_at(tmp_path: Path) -> None:
    found = public_configs.judge(public(), at(tmp_path / "config.pbtxt", GOOD))
    # name, backend, max_batch_size; input and its element; its name, data_type, dims and their element
    assert (found.equal, found.misplaced, found.fields) == (True, (), 9)


LISTS = 'input {\n name: "a"\n}\noutput [\n {\n  name: "b"\n }\n]\nparameters {\n key: "k"\n}\nparameters {\n key: "a"\n}'
ENTRIES = {"parameters[k]": 9, "parameters[a]": 12}
PLACES: dict[str, tuple[dict[str, int], list[str]]] = {
    "by name": ({"input": 1, "input[0]": 1, "output": 4, "output[0]": 5, "parameters": 9, **ENTRIES}, []),
    "by the first element": ({"output": 5, "output[0]": 5}, ["output is not on line 5"]),
    "by a later entry": ({"parameters": 12, **ENTRIES}, ["parameters is not on line 12"]),
    "by the bracket": ({"input": 3, "input[0]": 3}, ["input is not on line 3"]),
}


@pytest.mark.parametrize("case", PLACES)
def test_where_a_list_begins(case: str) -> None:
    found, told = PLACES[case]
    assert list(public_configs.unplaced(LISTS, found, list(found))) == told


def test_the_paths_of_all_that_is_set() -> None:
    config = pbtxt.parse(
        'input { dims: [3, -1] }\nparameters { key: "k" value { string_value: "v" } }\noptimization { graph { level: 1 } }'
    )
    assert sorted(public_configs.populated(config)) == [
        "input", "input[0]", "input[0].dims", "input[0].dims[0]", "input[0].dims[1]",
        "optimization", "optimization.graph", "optimization.graph.level",
        "parameters", "parameters[k]", "parameters[k].string_value",
    ]  # fmt: skip


def instead_of(real: Callable[..., Any], change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *arguments: change(real(*arguments))


def fail(_: object) -> None:
    raise KeyError("output")


WRITE, COUNT = pbtxt.text, itertools.count()
FAULTS: dict[str, tuple[Any, str, Any, str]] = {
    "a field lost": (pbtxt, "text", instead_of(pbtxt.text, lambda t: t.replace("dims: 3", "")), "the message that comes"),
    "nothing lost but in the commented": (
        pbtxt, "text", lambda config, comments=None: "" if comments else WRITE(config), "with comments, the message that comes"
    ),
    "unreadable": (pbtxt, "text", lambda *_: 'name: "', "what was written cannot be read: "),
    "a comment that ends": (public_configs, "_COMMENT", "one\ntwo", "what was written cannot be read: "),
    "never twice the same": (pbtxt, "text", instead_of(pbtxt.text, lambda t: f"{t}#{next(COUNT)}"), "the second text is another"),
    "lines that raise": (pbtxt, "lines", lambda text: fail(text) if text == GOOD.decode() else {}, "raised KeyError: 'output'"),
    "no lines": (pbtxt, "lines", lambda _: {}, "no line for name"),
    "all on one line": (pbtxt, "lines", instead_of(pbtxt.lines, lambda f: dict.fromkeys(f, 2)), "name is not on line 2"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_writer_and_reader_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str) -> None:
    module, name, instead, told = FAULTS[fault]
    monkeypatch.setattr(module, name, instead)
    found = public_configs.judge(public(), at(tmp_path / "config.pbtxt", GOOD))
    assert any(what.startswith(told) for what in (*found.changed, *found.misplaced)), found
    assert any(told in what for what in public_configs.failures([found]))


def test_negative_zero_and_zero_are_not_the_same() -> None:
    metric = "model_metrics {{ metric_control {{ histogram_options {{ buckets: {} }} }} }}"
    zero, negative = (pbtxt.parse(metric.format(number)) for number in ("0.0", "-0.0"))
    assert not public_configs._same(zero, negative)
    assert public_configs._same(zero, pbtxt.parse(metric.format(0)))


def test_a_list_that_has_become_short_proves_nothing() -> None:
    enough = [public_configs.Outcome(public(repo=f"a/{n % public_configs.REPOSITORIES}")) for n in range(public_configs.CONFIGS)]
    assert public_configs.failures(enough) == []
    assert public_configs.failures(enough[1:]) == [f"{len(enough) - 1} configs came back equal, at least {len(enough)} are to"]
    same = [public_configs.Outcome(public())] * len(enough)
    assert public_configs.failures(same) == ["they are of 1 repositories, at least 25 are expected"]
    unreadable = [*enough[1:], public_configs.Outcome(public(), unreadable="a template")]
    assert public_configs.failures(unreadable) == public_configs.failures(enough[1:])


def test_the_whole_run(monkeypatch: pytest.MonkeyPatch, mirrors: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    arguments = ["--mirrors", str(mirrors), "--docs", str(docs), "--no-server"]
    said = CliRunner().invoke(public_configs.main, [*arguments, "--collect"])
    assert said.exit_code == 1
    assert "error: 3 configs came back equal, at least 100 are to" in said.output
    monkeypatch.setattr(public_configs, "CONFIGS", 3)
    monkeypatch.setattr(public_configs, "REPOSITORIES", 1)
    said = CliRunner().invoke(public_configs.main, arguments)
    assert said.exit_code == 0, said.output
    page = (docs / "public_configs.md").read_text(encoding="utf-8")
    assert "| [ann/one](https://github.com/ann/one) |" in page
    assert "| 4 | 3 | 0 | 1 |" in page
    assert re.search(r"\[ann/one:templates/my_config_template.pbtxt\]\(\S+\) \| line 1: Couldn't parse integer: \$ \|", page)
    assert CliRunner().invoke(public_configs.main, ["--collect", "--docs", str(docs)]).exit_code == 1


def test_the_real_server_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    later = pbtxt.text(model_config.new(name="l", ensemble_scheduling={"max_inflight_requests": 3})).encode()
    texts = {"good": GOOD, "template": UNREADABLE["a template"][0], "type": UNREADABLE["an unknown type"][0], "later": later}
    files = {public(n, data): at(tmp_path / f"c{i:04}" / "config.pbtxt", data) for i, (n, data) in enumerate(texts.items())}
    found = public_configs_server.ask(files, tmp_path)
    assert (found.asked, found.files, found.ours, found.later, found.disagreements) == (6, 1, 1, 1, ())
    assert "6 of 6" in found.report()
    for folder in tmp_path.glob("w*"):
        (folder / "config.pbtxt").unlink()
        folder.rmdir()
    monkeypatch.setattr(field_versions, "unknown_to", lambda *_: iter(()))
    found = public_configs_server.ask(files, tmp_path)
    assert found.disagreements == tuple(f"ann/one:later{own}: tritonserver cannot read it" for own in ("", ", as we write it"))


def test_the_list_and_the_page_of_this_project() -> None:
    listed = json.loads((ROOT / "docs" / "public_configs.json").read_bytes())
    files = [(e["repo"], path, digest) for e in listed for path, digest in e["files"].items()]
    assert all(sorted(e) == ["commit", "files", "repo"] and re.fullmatch(r"[0-9a-f]{40}", e["commit"]) for e in listed)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for _, _, digest in files)
    assert len({digest for _, _, digest in files}) == len(files)
    page = (ROOT / "docs" / "public_configs.md").read_text(encoding="utf-8")
    assert f"| files, no two alike | {len(files)} |" in page
    equal = re.search(r"\*\*configs that come back equal\*\* \| \*\*(\d+)\*\*, from (\d+) repositories", page)
    assert equal
    assert int(equal[1]) >= public_configs.CONFIGS
    assert int(equal[2]) >= public_configs.REPOSITORIES
