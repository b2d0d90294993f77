"""A small typed gRPC client for the ensembles that this project builds.

with Client(model="yolov4_tiny") as client:
    for found in client.infer(["street.jpg", "dog.jpg"]):
        print(found.labels, found.boxes)

`AsyncClient` has the same methods as coroutines. Every failure is a `ClientError` that says what to do.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from generator import contract, exchange
from generator.answers import Answer, Classification, Detections
from generator.contract import Contract, Image
from generator.errors import ClientError
from generator.exchange import Arrays
from generator.server_stats import Counts, counts

__all__ = ["Answer", "AsyncClient", "Classification", "Client", "ClientError", "Contract", "Detections", "Image"]

URL = "127.0.0.1:8001"
#: Seconds for questions about the server itself, which answers them at once.
_ASK = 10.0
#: Requests that an AsyncClient keeps in flight for one call.
_IN_FLIGHT = 4


class _Base:
    """What both clients share: settings, requests and the translation of failures."""

    def __init__(
        self, url: str = URL, model: str = "", *, timeout: float = 60.0, thresholds: Mapping[str, float] | None = None
    ) -> None:
        """`url` is host:port of the gRPC service; without `model` the only ensemble is taken; `timeout` is seconds a request.

        `thresholds` go to a detector that takes them from the request (`runtime` under `nms` in its spec), instead of its own.
        """
        self.url = contract.check_url(url)
        self.thresholds = dict(thresholds or {})
        self.timeout = timeout
        self._model = model
        self._contract: Contract | None = None

    def _request(self, found: Contract, blobs: Sequence[bytes]) -> dict[str, Any]:
        """The keyword arguments of tritonclient's `infer`."""
        import tritonclient.grpc as triton

        tensor = triton.InferInput(found.input, found.shape(len(blobs)), "BYTES")
        tensor.set_data_from_numpy(np.array(blobs, dtype=np.object_).reshape(found.shape(len(blobs))))
        inputs = [tensor]
        for name, value in found.thresholds.items():
            shape = found.shape(len(blobs))
            inputs.append(triton.InferInput(name, shape, "FP32"))
            inputs[-1].set_data_from_numpy(np.full(shape, value, np.float32))
        wanted = [triton.InferRequestedOutput(name) for name in found.outputs]
        return {"model_name": found.model, "inputs": inputs, "outputs": wanted, "client_timeout": self.timeout}

    def _read(self, found: Contract, result: Any, count: int) -> Arrays:
        return found.per_picture({name: result.as_numpy(name) for name in found.outputs}, count)

    def _error(self, error: Exception, subject: str, seconds: float) -> ClientError:
        """A failure of tritonclient in our words."""
        status, detail = str(getattr(error, "status", lambda: "")()), str(getattr(error, "message", lambda: error)())
        if status.endswith("UNAVAILABLE"):
            return contract.away(self.url, detail)
        if status.endswith("DEADLINE_EXCEEDED"):
            return contract.late(self.url, seconds)
        return contract.refused(subject, detail)


class Client(_Base):
    """Blocking. Not for use from several threads at once; make one each."""

    def __init__(
        self, url: str = URL, model: str = "", *, timeout: float = 60.0, thresholds: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(url, model, timeout=timeout, thresholds=thresholds)
        triton = _quiet_grpc()
        self._triton = triton.InferenceServerClient(self.url)

    def models(self) -> list[str]:
        """Names of the models that are loaded and ready, sorted. Raises ClientError when the server is away."""
        return exchange.ready(self._ask(self._triton.get_model_repository_index))

    def contract(self) -> Contract:
        """What the model takes and gives, asked once. Raises ClientError when there is no such model or choice."""
        if self._contract is None:
            ready = self.models()
            if self._model and self._model not in ready:
                raise contract.unknown_model(self._model, self.url, ready)
            name = self._model or contract.only_ensemble([self._config(name) for name in ready], self.url)
            self._contract = Contract.of(self._config(name)).with_thresholds(self.thresholds)
        return self._contract

    def infer(self, images: Sequence[Image]) -> list[Answer]:
        """A result for each picture (encoded bytes or paths), in order, sent in batches of the model's size.

        Raises ClientError naming the first picture that the server refused.
        """
        return [exchange.raised(result) for result in self.infer_each(images)]

    def infer_each(self, images: Sequence[Image]) -> list[Answer | ClientError]:
        """As `infer`, with the error of a picture in its place: a bad one does not spoil the others.

        Raises ClientError when the server itself is away, late, or without the model.
        """
        found, results, blobs = self.contract(), *exchange.load(images)
        places = list(blobs)
        for batch in found.batches(len(places)):
            part = [places[i] for i in batch]
            outcome = self._send(found, [blobs[i] for i in part], exchange.subject(images, part))
            if isinstance(outcome, ClientError) and len(part) > 1:
                # the server refuses the whole request; alone, each picture gets its own answer
                for i in part:
                    results[i] = exchange.results(found, self._send(found, [blobs[i]], exchange.subject(images, [i])), 1)[0]
            else:
                results.update(zip(part, exchange.results(found, outcome, len(part)), strict=True))
        return [results[i] for i in range(len(images))]

    def raw(self, images: Sequence[Image]) -> Arrays:
        """The model's outputs as they are, the pictures on the first axis. Raises ClientError at the first failure."""
        found, results, blobs = self.contract(), *exchange.load(images)
        exchange.first_error(results)
        parts = []
        for batch in found.batches(len(blobs)):
            parts.append(exchange.raised_arrays(self._send(found, [blobs[i] for i in batch], exchange.subject(images, batch))))
        return exchange.joined(found, parts)

    def statistics(self, model: str) -> Counts:
        """What the server has counted for a model since it was loaded. Raises ClientError."""
        return counts(self._ask(self._triton.get_inference_statistics, model))

    def server_version(self) -> str:
        """For example "2.51.0". Raises ClientError when the server is away."""
        return str(self._ask(self._triton.get_server_metadata).version)

    def ensembles(self) -> list[str]:
        """Names of the ensembles that take pictures, sorted. Raises ClientError when the server is away."""
        return contract.ensembles([self._config(name) for name in self.models()])

    def close(self) -> None:
        """Close the connection."""
        self._triton.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _config(self, name: str) -> Any:
        return self._ask(self._triton.get_model_config, name).config

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            return call(*arguments, client_timeout=_ASK)
        except InferenceServerException as error:
            raise self._error(error, f"{self.url}", _ASK) from None

    def _send(self, found: Contract, blobs: Sequence[bytes], subject: str) -> Arrays | ClientError:
        """One request: its outputs, or what the server said against it. Raises ClientError when the server is away or late."""
        from tritonclient.utils import InferenceServerException

        try:
            result = self._triton.infer(**self._request(found, blobs))
        except InferenceServerException as error:
            return exchange.of_the_picture(error, self._error(error, subject, self.timeout))
        return self._read(found, result, len(blobs))


class AsyncClient(_Base):
    """The same for asyncio; the batches of one call travel side by side."""

    def __init__(
        self, url: str = URL, model: str = "", *, timeout: float = 60.0, thresholds: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(url, model, timeout=timeout, thresholds=thresholds)
        self._client: Any = None

    async def models(self) -> list[str]:
        """Names of the models that are loaded and ready, sorted. Raises ClientError when the server is away."""
        return exchange.ready(await self._ask(self._triton().get_model_repository_index))

    async def contract(self) -> Contract:
        """What the model takes and gives, asked once. Raises ClientError when there is no such model or choice."""
        if self._contract is None:
            ready = await self.models()
            if self._model and self._model not in ready:
                raise contract.unknown_model(self._model, self.url, ready)
            name = self._model or contract.only_ensemble([await self._config(name) for name in ready], self.url)
            self._contract = Contract.of(await self._config(name)).with_thresholds(self.thresholds)
        return self._contract

    async def infer(self, images: Sequence[Image]) -> list[Answer]:
        """As `Client.infer`."""
        return [exchange.raised(result) for result in await self.infer_each(images)]

    async def infer_each(self, images: Sequence[Image]) -> list[Answer | ClientError]:
        """As `Client.infer_each`."""
        found, (results, blobs) = await self.contract(), exchange.load(images)
        places, gate = list(blobs), asyncio.Semaphore(_IN_FLIGHT)

        async def one(part: Sequence[int]) -> None:
            async with gate:
                outcome = await self._send(found, [blobs[i] for i in part], exchange.subject(images, part))
            if isinstance(outcome, ClientError) and len(part) > 1:
                await asyncio.gather(*(one([i]) for i in part))
            else:
                results.update(zip(part, exchange.results(found, outcome, len(part)), strict=True))

        batches = [one([places[i] for i in batch]) for batch in found.batches(len(places))]
        for outcome in await asyncio.gather(*batches, return_exceptions=True):  # none is left running when one fails
            if outcome is not None:
                raise outcome
        return [results[i] for i in range(len(images))]

    async def raw(self, images: Sequence[Image]) -> Arrays:
        """As `Client.raw`."""
        found, (results, blobs) = await self.contract(), exchange.load(images)
        exchange.first_error(results)
        parts = []
        for batch in found.batches(len(blobs)):
            parts.append(
                exchange.raised_arrays(await self._send(found, [blobs[i] for i in batch], exchange.subject(images, batch)))
            )
        return exchange.joined(found, parts)

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def _triton(self) -> Any:
        """The connection, made on first use: it belongs to the event loop that runs then."""
        if self._client is None:
            _quiet_grpc()
            import tritonclient.grpc.aio as triton

            self._client = triton.InferenceServerClient(self.url)
        return self._client

    async def _config(self, name: str) -> Any:
        return (await self._ask(self._triton().get_model_config, name)).config

    async def _ask(self, call: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            return await call(*arguments, client_timeout=_ASK)
        except InferenceServerException as error:
            raise self._error(error, f"{self.url}", _ASK) from None

    async def _send(self, found: Contract, blobs: Sequence[bytes], subject: str) -> Arrays | ClientError:
        from tritonclient.utils import InferenceServerException

        try:
            result = await self._triton().infer(**self._request(found, blobs))
        except InferenceServerException as error:
            return exchange.of_the_picture(error, self._error(error, subject, self.timeout))
        return self._read(found, result, len(blobs))


def _quiet_grpc() -> Any:
    """tritonclient.grpc, with the C core told to keep its remarks off stderr: what matters arrives as an exception."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import tritonclient.grpc as triton

    return triton
