"""Requests in and answers out: JSON that any browser reads, raw arrays, errors as sentences."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from elman.errors import ElmanError, FailureError, MisuseError

T = TypeVar("T")

LONE_HALF = re.compile("[\ud800-\udfff]")
# refusals after which the rest of a request may still be on its way
UNREAD = (401, 403, 408, 413)
FOREVER = "private, max-age=31536000, immutable"


class MissingError(MisuseError):
    """There is no such run, recording, cell or job."""

    status = 404


class TooLargeError(MisuseError):
    """More than the server takes in one request."""

    status = 413


class LateError(MisuseError):
    """A request that did not arrive in time."""

    status = 408


class BusyError(FailureError):
    """More is waiting already than the server lets wait."""

    status = 429


def status_of(error: ElmanError) -> int:
    """The HTTP status of an error: its own, else 400 for a mistake and 500 for a failure."""
    return getattr(error, "status", 400 if isinstance(error, MisuseError) else 500)


def plain(value: Any) -> Any:
    """The same value for JSON: arrays as lists, records as objects, None for what is no finite number."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range):
        return [plain(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {part.name: plain(getattr(value, part.name)) for part in dataclasses.fields(value)}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def dumps(value: Any) -> str:
    """JSON in ASCII: halves of surrogate pairs, which a byte text may hold, have no other form on the wire."""
    try:
        return json.dumps(value, default=plain, allow_nan=False, separators=(",", ":"))
    except ValueError:
        # something in it is no finite number
        return json.dumps(plain(value), allow_nan=False, separators=(",", ":"))


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as a JSON document."""
    return Response(dumps(value), status, headers, "application/json")


def refusal(status: int, sentence: str) -> Response:
    """An error as a JSON document; of a body that was not read to its end no more is listened to."""
    return answer({"error": sentence}, status, {"connection": "close"} if status in UNREAD else None)


def whole_text(text: str) -> str:
    """Text that UTF-8 can carry: a lone half of a surrogate pair becomes U+FFFD, so no position moves."""
    return LONE_HALF.sub("\ufffd", text)


def numbers(request: Request, values: NDArray[Any], tag: str) -> Response:
    """An array as raw little-endian bytes, which the browser keeps for good.

    Args:
        request: may say which version it has already.
        values: the array; its shape and type are told in headers.
        tag: names the content: another content has another tag or another address.

    Returns:
        The bytes, or 304 without any.
    """
    entity = f'"{tag}"'
    headers = {"etag": entity, "cache-control": FOREVER}
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if entity in known or "*" in known:
        return Response(status_code=304, headers=headers)
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    headers["x-elman-shape"] = ",".join(map(str, values.shape))
    headers["x-elman-type"] = values.dtype.name
    return Response(little.tobytes(), headers=headers, media_type="application/octet-stream")


async def body_of(request: Request, seconds: float) -> dict[str, Any]:
    """The JSON object that a request carries.

    Args:
        request: of type ``application/json``, which a form of a foreign page cannot send.
        seconds: within which it must have arrived.

    Raises:
        MisuseError: another type, no JSON, or no object.
        LateError: too slow.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise MisuseError(f"The body has the type {kind or 'of nothing'!r}; it must be application/json.")
    try:
        async with asyncio.timeout(seconds):
            raw = await request.body()
        value = json.loads(raw or b"{}")
    except TimeoutError as error:
        raise LateError(f"The body did not arrive within {seconds:g} seconds.") from error
    except (ValueError, RecursionError) as error:
        raise MisuseError(f"The body is no JSON ({error}).") from error
    if not isinstance(value, dict):
        raise MisuseError("The body must be a JSON object.")
    return value


_REQUIRED: Any = object()


def field(body: Mapping[str, Any], name: str, kind: type[T] | tuple[type, ...], default: Any = _REQUIRED) -> Any:
    """One entry of a request's body, of the type that it must have.

    Args:
        body: the object.
        name: of the entry.
        kind: a type, or several; a whole number passes for a float, a truth value for no number.
        default: what stands for a missing entry or null; without one the entry must be there.

    Raises:
        MisuseError: it is missing or of another type, or no finite number.
    """
    value = body.get(name)
    if value is None:
        if default is _REQUIRED:
            raise MisuseError(f"The request lacks {name!r}.")
        return default
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, bool) and bool not in kinds:
        raise MisuseError(f"{name!r} must be {_called(kinds)}, not a truth value.")
    if float in kinds and isinstance(value, int):
        value = float(value) if abs(value) < 2**53 else math.inf
    if not isinstance(value, kinds) or (isinstance(value, float) and not math.isfinite(value)):
        raise MisuseError(f"{name!r} must be {_called(kinds)}.")
    return value


def _called(kinds: tuple[type, ...]) -> str:
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", list: "a list"}
    return " or ".join(words.get(kind, "an object") for kind in kinds)


def number_in(request: Request, name: str, default: int | None, low: int, high: int) -> int:
    """A whole number of the address, such as ``?begin=10``.

    Raises:
        MisuseError: it is missing and has no default, or is no number within the bounds.
    """
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise MisuseError(f"{name!r} must be a whole number from {low} to {high}.")
    return int(text)


def threaded(function: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that computes or reads files: it runs beside the event loop."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(function, request)

    return endpoint


def posted(function: Callable[[Request, dict[str, Any]], Response]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint that is given the JSON object of the request, and runs beside the event loop."""

    async def endpoint(request: Request) -> Response:
        body = await body_of(request, request.app.state.limits.body_seconds)
        return await run_in_threadpool(function, request, body)

    return endpoint


async def on_error(request: Request, error: Exception) -> Response:
    """A user's mistake or a failure as its sentence."""
    assert isinstance(error, ElmanError)
    return refusal(status_of(error), str(error))


async def on_http_error(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown address or method."""
    assert isinstance(error, HTTPException)
    sentence = {404: "There is nothing at this address.", 405: "This address does not take that method."}
    return refusal(error.status_code, sentence.get(error.status_code, str(error.detail)))
