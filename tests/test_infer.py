"""`triton-repo infer` as a user runs it, against a real tritonserver."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fake_ensemble
import pytest
from PIL import Image

from generator import cli
from generator.server import Server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, server: Callable[..., Server]) -> str:
    return server(fake_ensemble.write(tmp_path_factory.mktemp("infer"))).grpc_url


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture the server finds two things in, one it refuses, one that is none but that the server accepts."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (400, 300), (90, 120, 160)).save("street.jpg")
    Path("bad.jpg").write_bytes(b"bad")
    Path("odd.png").write_bytes(b"1")
    (tmp_path / "other").mkdir()
    Image.new("RGB", (50, 60)).save("other/street.png")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(["infer", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_json_alone_on_stdout_and_the_picture_drawn(photos: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "street.jpg", "--url", url, "--json", "-o", "drawn")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["model"] == "detector"  # the only ensemble was found without being named
    (image,) = answer["images"]
    assert (image["image"], image["width"], image["height"]) == ("street.jpg", 400, 300)
    assert image["detections"][1] == {"label": "thing 1", "class": 1, "score": 0.8, "box": [11.0, 12.0, 50.0, 40.0]}
    assert image["drawn"] == "drawn/street.detections.png"
    with Image.open(photos / "drawn" / "street.detections.png") as drawn:
        assert drawn.size == (400, 300)
        assert len(drawn.getcolors(100_000) or []) > 10  # one colour before


def test_a_table_names_what_was_found(photos: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "street.jpg", "--url", url, "--no-draw")
    assert code == 0
    assert "street.jpg: 2 found by detector" in out
    assert "thing 1" in out
    assert "0.800" in out
    assert not list(photos.glob("*.detections.png"))


def test_a_bad_picture_leaves_the_others_and_ends_with_exit_code_1(
    photos: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "bad.jpg", "street.jpg", "missing.jpg", "--url", url, "--json")
    assert code == 1
    bad, good, missing = json.loads(out)["images"]
    assert "not a JPEG or PNG" in bad["error"]
    assert len(good["detections"]) == 2
    assert "error" not in good
    assert "No such file" in missing["error"]
    assert "bad.jpg" in err
    assert "missing.jpg: No such file or directory; name a JPEG or PNG file (2 of 3 pictures failed)" in err
    assert (photos / "street.detections.png").exists()


def test_what_cannot_be_drawn_keeps_its_answer(photos: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "odd.png", "--url", url, "--json")
    assert code == 1
    assert len(json.loads(out)["images"][0]["detections"]) == 1
    assert "odd.png: cannot be drawn on" in err


def test_two_pictures_of_one_name_are_drawn_into_two_files(photos: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "street.jpg", "other/street.png", "--url", url, "--json")
    assert code == 0
    assert [image["drawn"] for image in json.loads(out)["images"]] == ["street.detections.png", "street-2.detections.png"]


def test_an_input_is_never_drawn_over(photos: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    original = (photos / "street.jpg").read_bytes()
    (photos / "street.detections.png").write_bytes(original)
    code, _, _ = run(capsys, "street.jpg", "street.detections.png", "--url", url)
    assert code == 0
    assert (photos / "street.detections.png").read_bytes() == original
    assert (photos / "street-2.detections.png").exists()


def test_an_output_folder_that_is_a_file_is_refused(photos: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "street.jpg", "--url", url, "-o", "bad.jpg")
    assert (code, out) == (1, "")
    assert "bad.jpg: File exists; name another folder with -o" in err


def test_server_away(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "street.jpg", "--url", "127.0.0.1:9")
    assert (code, out) == (1, "")
    assert err.startswith("error: no Triton server answers gRPC at 127.0.0.1:9")
    assert "Traceback" not in err


def test_the_verb_loads_without_heavy_libraries() -> None:
    heavy = ("torch", "onnx", "onnxruntime", "grpc", "cv2", "PIL", "matplotlib", "numpy")
    code = f"import sys, generator.commands.infer, generator.commands.bench; print(*(set(sys.modules) & set({heavy})))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
