"""The few calls to the server's HTTP side that starting it needs, with the standard library only."""

from __future__ import annotations

import http.client
import json
from typing import Any

from generator.errors import ClientError


def ready(url: str) -> bool:
    """Does the server at `host:port` say that it and all its models are ready?"""
    try:
        status, _ = _call(url, "GET", "/v2/health/ready")
    except OSError:
        return False
    return status == 200


def index(url: str) -> list[dict[str, Any]]:
    """The models in the repository as the server sees them: name, version, state, reason."""
    try:
        status, body = _call(url, "POST", "/v2/repository/index")
    except OSError as error:
        raise ClientError(f"no server answers at {url}: {error}", "start one with `triton-repo serve`") from error
    if status != 200:
        raise ClientError(f"the server at {url} refused to list its models (status {status})", "")
    entries: list[dict[str, Any]] = json.loads(body)
    return entries


def _call(url: str, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(url, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"unreadable answer ({type(error).__name__})") from error
    finally:
        connection.close()
