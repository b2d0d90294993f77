"""What the blocking and the asyncio client do alike with pictures and answers; no connection is made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generator import answers, contract
from generator.answers import Answer
from generator.contract import Contract, Image
from generator.errors import ClientError

Arrays = dict[str, NDArray[Any]]


def ready(index: Any) -> list[str]:
    """Names of the models in a repository index that are loaded and ready, sorted."""
    return sorted({entry.name for entry in index.models if entry.state == "READY"})


def load(images: Sequence[Image]) -> tuple[dict[int, Answer | ClientError], dict[int, bytes]]:
    """Errors of the pictures that cannot be read, and the bytes of the others, by place."""
    errors: dict[int, Answer | ClientError] = {}
    blobs: dict[int, bytes] = {}
    for index, image in enumerate(images):
        try:
            blobs[index] = contract.read(image)
        except ClientError as error:
            errors[index] = error
    return errors, blobs


def subject(images: Sequence[Image], places: Sequence[int]) -> str:
    """How a message names the pictures at these places."""
    return ", ".join(contract.name_of(images[i], i) for i in places)


def of_the_picture(error: Any, ours: ClientError) -> ClientError:
    """Give back what is the picture's fault, raise what concerns every picture."""
    if str(error.status()).rsplit(".", 1)[-1] in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "NOT_FOUND", "CANCELLED"):
        raise ours from None
    return ours


def results(found: Contract, outcome: Arrays | ClientError, count: int) -> list[Answer | ClientError]:
    """The result of each of `count` pictures of one request, or the request's error for each."""
    if isinstance(outcome, ClientError):
        return [outcome] * count
    return [answers.answer(found.model, {name: values[i] for name, values in outcome.items()}) for i in range(count)]


def raised(result: Answer | ClientError) -> Answer:
    """The result; an error in its place is raised."""
    if isinstance(result, ClientError):
        raise result
    return result


def raised_arrays(outcome: Arrays | ClientError) -> Arrays:
    """The outputs; an error in their place is raised."""
    if isinstance(outcome, ClientError):
        raise outcome
    return outcome


def first_error(errors: dict[int, Answer | ClientError]) -> None:
    """Raise the first error there is."""
    for result in errors.values():
        raised(result)


def joined(found: Contract, parts: Sequence[Arrays]) -> Arrays:
    """The outputs of several requests as one. Raises ClientError when there was none."""
    if not parts:
        raise ClientError("no picture was given", "name at least one")
    return {name: np.concatenate([part[name] for part in parts]) for name in found.outputs}
