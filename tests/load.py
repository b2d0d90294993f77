"""Load on a running server while its models are rolled forward and back: every answer is counted, and is one version's own.

`Scenario` has two versions of two pipelines; `Load` asks for both without pause; `roll` goes forward and back by build or push.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

import numpy as np
import onnx
import tiny_detector
import tiny_models
from onnx import TensorProto, helper, numpy_helper

from generator import cli, push
from generator.rollout import roll_out
from generator.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

#: The bare model multiplies by its version's factor, so that an answer says which version gave it.
FACTORS = {1: 2.0, 2: 3.0}
BARE = """\
name: scaled
checkpoint:
  kind: onnx
  file: scaled.onnx
serving:
  version: {version}
  max_batch_size: 4
{serving}"""
X = np.arange(4, dtype=np.float32).reshape(1, 4)


def specs(folder: Path, version: int, serving: str = "") -> list[Path]:
    """Two specs of one version: `scaled`, a bare model, and `tiny`, an ensemble; other weights in each version."""
    folder.mkdir(parents=True, exist_ok=True)
    bare = folder / "scaled.yaml"
    bare.write_text(BARE.format(version=version, serving=serving))
    factor = numpy_helper.from_array(np.array([FACTORS.get(version, float(version))], np.float32), "factor")
    io: Any = (TensorProto.FLOAT, ("N", 4))
    onnx.save(
        tiny_models.model([helper.make_node("Mul", ["x", "factor"], ["y"])], {"x": io}, {"y": io}, [factor]),
        folder / "scaled.onnx",
    )
    tiny = tiny_detector.write(folder / "tiny", seed=version)
    (folder / "tiny" / "wide.png").write_bytes(_picture(folder))
    tiny.write_text(tiny.read_text().replace("serving:\n", f"serving:\n  version: {version}\n{serving}"))
    return [bare, tiny]


def _picture(folder: Path) -> bytes:
    """The same one for every version."""
    path = tiny_detector.write(folder / "picture", seed=99).with_name("wide.png")
    return path.read_bytes()


def ask(client: Any, model: str, picture: bytes) -> bytes:
    """One request; everything that is in the answer, as bytes. Raises what tritonclient raises."""
    import tritonclient.grpc as triton

    if model == "scaled":
        tensor = triton.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(X)
    else:
        (name,) = [i["name"] for i in client.get_model_metadata(model, as_json=True)["inputs"]]
        tensor = triton.InferInput(name, [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[picture]], dtype=np.object_))
    result = client.infer(model, [tensor], client_timeout=60.0)
    outputs = sorted(o.name for o in result.get_response().outputs)
    return b"|".join(name.encode() + _bytes(result.as_numpy(name)) for name in outputs)


def _bytes(values: np.ndarray[Any, Any]) -> bytes:
    return b"\0".join(values.ravel().tolist()) if values.dtype == np.object_ else values.tobytes()


@dataclass
class Counts:
    """What became of the requests to one model."""

    sent: int = 0
    #: By version; 0: an answer that neither version gives.
    answered: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    #: Version and time at which each request was sent.
    log: list[tuple[float, int]] = field(default_factory=list)

    def between(self, first: float, last: float) -> Counter[int]:
        """The versions that answered what was sent in that time."""
        return Counter(version for sent, version in list(self.log) if first < sent < last)

    def __str__(self) -> str:
        by_version = ", ".join(f"version {v}: {n}" for v, n in sorted(self.answered.items()))
        return f"sent {self.sent}, answered {sum(self.answered.values())} ({by_version}), lost {len(self.lost)}"


class Load:
    """`threads` clients for each model that ask without pause while the block runs."""

    def __init__(self, url: str, right: dict[str, dict[bytes, int]], picture: bytes, threads: int = 2) -> None:
        """`right` has by model each version's answer."""
        self.url, self.right, self.picture = url, right, picture
        self.counts = {model: Counts() for model in right}
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(model,)) for model in right for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(90)

    def _run(self, model: str) -> None:
        import tritonclient.grpc as triton

        client, counts = triton.InferenceServerClient(self.url), self.counts[model]
        while not self._stop.is_set():
            sent = time.monotonic()
            with self._lock:
                counts.sent += 1
            try:
                version = self.right[model].get(ask(client, model, self.picture), 0)
            except Exception as error:
                with self._lock:
                    counts.lost.append(f"{time.monotonic():.2f} {error}")
                continue
            with self._lock:
                counts.answered[version] += 1
                counts.log.append((sent, version))
        client.close()


class Scenario:
    """Versions 1 and 2 of `scaled` and `tiny`, the right answers of each, and a repository that holds version 1."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.repository = folder, folder / "repo"
        self.specs = {version: specs(folder / f"v{version}", version) for version in FACTORS}
        self.picture = (folder / "v1" / "tiny" / "wide.png").read_bytes()
        self.right = self._right()
        self.build(1)

    def _right(self) -> dict[str, dict[bytes, int]]:
        """From a server of its own for each version, with nothing else going on."""
        import tritonclient.grpc as triton

        right: dict[str, dict[bytes, int]] = {"scaled": {}, "tiny": {}}
        for version in self.specs:
            alone = self.folder / f"only{version}"
            self.build(version, alone)
            with Server(alone) as server, contextlib.closing(triton.InferenceServerClient(server.grpc_url)) as client:
                for model, answers in right.items():
                    answers[ask(client, model, self.picture)] = version
        assert all(len(answers) == len(self.specs) for answers in right.values()), "versions must answer differently"
        return right

    def build(self, version: int, repository: Path | None = None) -> None:
        """`triton-repo build` of both pipelines."""
        run("build", *self.specs[version], "-o", repository or self.repository)

    def load(self, server: Server, threads: int = 2) -> Load:
        """Requests to both models."""
        return Load(server.grpc_url, self.right, self.picture, threads)


def run(*arguments: object) -> str:
    """A command line that succeeds; what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = cli.run([str(a) for a in arguments])
    assert code == 0, err.getvalue()
    return out.getvalue()


@dataclass
class Roll:
    """One change of version: how long it took, and which versions answered what was sent after it."""

    version: int
    seconds: float
    after: dict[str, Counter[int]]


def roll(
    scenario: Scenario, server: Server, load: Load, versions: Sequence[int], *, to: str = "", pause: float = 1.0
) -> list[Roll]:
    """Bring each of `versions` in turn under load, by build into the served repository or, with `to`, by push to that place."""
    done: list[tuple[int, float, float, float]] = []
    time.sleep(pause)
    for version in versions:
        began = time.monotonic()
        scenario.build(version)
        if to:
            run("push", scenario.repository, to, "--server", server.grpc_url, "--timeout", 60)
        else:
            roll_out(server.grpc_url, push.parcel(scenario.repository).served, timeout=60)
        ready = time.monotonic()
        time.sleep(pause)
        done.append((version, ready - began, ready, time.monotonic()))
    return [Roll(v, s, {m: c.between(a, b) for m, c in load.counts.items()}) for v, s, a, b in done]


def judged(loaded: Load, rolls: Sequence[Roll]) -> None:
    """Nothing lost, nothing wrong, and after each roll-out its version only."""
    for model, counts in loaded.counts.items():
        print(f"{model}: {counts}")
        assert counts.lost == []
        assert counts.sent == sum(counts.answered.values())
        assert set(counts.answered) == {1, 2}, "0 would be an answer that neither version gives"
        for step in rolls:
            assert set(step.after[model]) == {step.version}, f"{model} after the change to version {step.version}"


def poll(seconds: int = 1) -> dict[str, Any]:
    """A server that polls."""
    return {"model_control": "poll", "extra_args": [f"--repository-poll-secs={seconds}"]}


def explicit(scenario: Scenario) -> dict[str, Any]:
    """A server that loads what it is told."""
    return {"model_control": "explicit", "load": list(push.parcel(scenario.repository).served)}


@contextlib.contextmanager
def bucket() -> Iterator[str]:
    """The URL of a bucket of moto's S3 server, on loopback."""
    import boto3
    from moto.server import ThreadedMotoServer

    said = {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    try:
        with mock.patch.dict(os.environ, said):
            host, port = store.get_host_and_port()
            boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="models")
            yield f"s3://{host}:{port}/models"
    finally:
        store.stop()
