"""What a client must know of a served model, read from its config, and what goes wrong, in words. No connection is made here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generator.errors import ClientError

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

#: An encoded picture (JPEG or PNG), or the path of one.
Image = bytes | str | Path


@dataclass(frozen=True)
class Contract:
    """A model that takes encoded pictures."""

    model: str
    input: str
    outputs: tuple[str, ...]
    max_batch_size: int
    #: Models inside the ensemble, in the order of the config; empty for a model that is none.
    steps: tuple[str, ...] = ()
    #: Thresholds that every request brings, with what the config's parameters say of them.
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, config: ModelConfig) -> Contract:
        """From a model's config. Raises ClientError when the model does not take one encoded picture a row."""
        if not takes_pictures(config):
            tensors = ", ".join(f"{t.name} {_type_name(t.data_type)}{list(t.dims)}" for t in config.input)
            raise ClientError(
                f"model {config.name!r} takes {tensors or 'no input'}, not one encoded picture (TYPE_STRING[1])",
                "name the ensemble instead, or use tritonclient for this model",
            )
        outputs = tuple(tensor.name for tensor in config.output)
        steps = tuple(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))
        thresholds = {name: float(config.parameters[name].string_value) for name in _thresholds(config)}
        return cls(config.name, config.input[0].name, outputs, config.max_batch_size, steps, thresholds)

    def with_thresholds(self, values: Mapping[str, float]) -> Contract:
        """The same with other values. Raises ClientError for a threshold that the model does not take from a request."""
        for name in values:
            if name not in self.thresholds:
                taken = f"it takes {', '.join(self.thresholds)}" if self.thresholds else "it takes none"
                raise ClientError(
                    f"model {self.model!r} does not take {name} from a request; {taken}",
                    f"say `runtime: [{name}]` under `nms:` and build again",
                )
        return replace(self, thresholds={**self.thresholds, **values})

    @property
    def rows(self) -> int:
        """How many pictures one request may carry."""
        return max(1, self.max_batch_size)

    def shape(self, count: int) -> list[int]:
        """The shape of the input of a request with `count` pictures."""
        return [count, 1] if self.max_batch_size else [1]

    def batches(self, count: int) -> Iterator[range]:
        """`count` pictures in as few requests as the model allows."""
        for start in range(0, count, self.rows):
            yield range(start, min(start + self.rows, count))

    def per_picture(self, arrays: dict[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
        """The outputs of one request with the pictures on the first axis. Raises ClientError when a row is missing."""
        if not self.max_batch_size:
            return {name: values[np.newaxis] for name, values in arrays.items()}
        for name, values in arrays.items():
            if len(values) != count:
                raise ClientError(f"model {self.model!r} answered {count} pictures with {len(values)} rows of {name}", "")
        return arrays


def takes_pictures(config: ModelConfig) -> bool:
    """One input, BYTES, one element a row; besides it only thresholds."""
    kinds = [(_type_name(tensor.data_type), list(tensor.dims)) for tensor in config.input]
    return kinds[:1] == [("TYPE_STRING", [1])] and len(_thresholds(config)) == len(kinds) - 1


def _thresholds(config: ModelConfig) -> list[str]:
    """Inputs of one number for which the config's parameters have a value."""
    names = [t.name for t in config.input if (_type_name(t.data_type), list(t.dims)) == ("TYPE_FP32", [1])]
    return [name for name in names if name in config.parameters and _is_number(config.parameters[name].string_value)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_ensemble(config: ModelConfig) -> bool:
    """Is it a pipeline of other models?"""
    return bool(config.platform == "ensemble" or config.HasField("ensemble_scheduling"))


def ensembles(configs: Sequence[ModelConfig]) -> list[str]:
    """Names of the ensembles that take pictures, sorted."""
    return sorted(str(config.name) for config in configs if is_ensemble(config) and takes_pictures(config))


def only_ensemble(configs: Sequence[ModelConfig], url: str) -> str:
    """The name of the one ensemble that takes pictures. Raises ClientError naming what is there when it is not one."""
    names = ensembles(configs)
    if len(names) == 1:
        return names[0]
    if names:
        raise ClientError(f"the server at {url} has {len(names)} ensembles: {', '.join(names)}", "name one of them (--model)")
    loaded = ", ".join(sorted(config.name for config in configs)) or "nothing"
    raise ClientError(f"the server at {url} has no ensemble that takes pictures; loaded: {loaded}", "build and serve one")


def name_of(image: Image, index: int) -> str:
    """How a message names a picture: its path, or its place, counted from 0 as the server does."""
    return f"image[{index}]" if isinstance(image, bytes) else str(image)


def read(image: Image) -> bytes:
    """The encoded bytes. Raises ClientError for a file that cannot be read."""
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise ClientError(f"{image}: {error.strerror}", "name a JPEG or PNG file") from None


def check_url(url: str) -> str:
    """`host:port`. Raises ClientError for an address of another form."""
    host, _, port = url.rpartition(":")
    if "://" in url or not host or not port.isdigit():
        raise ClientError(f"{url!r} is not an address of the gRPC service", "give host:port, for example 127.0.0.1:8001")
    return url


def away(url: str, detail: str) -> ClientError:
    """Nobody answers there, or not in gRPC."""
    remedy = "start one with `triton-repo serve`, or name it with --url"
    if (
        "HTTP/2" in detail or "Socket closed" in detail
    ):  # what another service there looks like; Triton's HTTP port closes the socket
        remedy = "something else listens there: give the server's gRPC port, 8001 by default (8000 is HTTP)"
    return ClientError(f"no Triton server answers gRPC at {url} ({_first_line(detail)})", remedy)


def late(url: str, seconds: float) -> ClientError:
    """The deadline passed."""
    return ClientError(
        f"the server at {url} did not answer within {seconds:g} s", "allow it more time (timeout), or send fewer pictures at once"
    )


def unknown_model(model: str, url: str, ready: Sequence[str]) -> ClientError:
    """The server does not have it."""
    return ClientError(
        f"the server at {url} has no model {model!r}; loaded: {', '.join(ready) or 'nothing'}", "name one of these, or serve it"
    )


def refused(subject: str, detail: str) -> ClientError:
    """The server's own sentence about `subject`."""
    return ClientError(f"{subject}: the server answered: {_first_line(detail)}", "")


def _type_name(number: int) -> str:
    from tritonclient.grpc.model_config_pb2 import DataType

    name: str = DataType.Name(number)
    return name


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
