"""Running the inspector: a port, an address that is printed, a browser, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from types import FrameType
from urllib.parse import urlencode

import uvicorn
from starlette.applications import Starlette

from elman.errors import FailureError, MisuseError
from elman.web.security import WILDCARDS, own_names

PORT = 8765
# ports after the usual one that are tried where it is taken and none was named
TRIES = 20
CONNECTIONS = 200
# for streams to say goodbye, and for a job to notice that it is cancelled
GOODBYE_SECONDS = 3


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens.

    Args:
        host: a name or address of this machine.
        port: 0 for any free one; None for the usual one or the next that is free.

    Raises:
        MisuseError: the host is not one of this machine, or the port is no port.
        FailureError: the port is taken, or may not be used.
    """
    if port is not None and not 0 <= port <= 65535:
        raise MisuseError(f"--port is {port}; it must be from 0 (any free one) to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise MisuseError(f"--host {host} is no name or address of this machine ({error}).") from error
    wanted = list(range(PORT, PORT + TRIES)) if port is None else [port]
    for number in wanted:
        # the protocol is named: asyncio sends small answers without delay only on sockets that say they are TCP
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address[0], number, *address[2:]))
            listener.listen(CONNECTIONS)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise MisuseError(f"--host {host} is no address of this machine; 127.0.0.1 is.") from error
            if error.errno != errno.EADDRINUSE or number == wanted[-1]:
                raise _port_failure(host, port, error) from error
            continue
        return listener
    raise AssertionError("one port at least was tried")


def _port_failure(host: str, port: int | None, error: OSError) -> FailureError:
    if error.errno != errno.EADDRINUSE:
        return FailureError(f"Port {port} of {host} cannot be used: {error.strerror}. Name another with --port.")
    tried = f"Port {port}" if port is not None else f"Every port from {PORT} to {PORT + TRIES - 1}"
    return FailureError(f"{tried} of {host} is taken. Name another with --port, or take any free one with --port 0.")


def address_of(listener: socket.socket, host: str, token: str | None = None) -> str:
    """The address that a browser opens.

    Args:
        listener: listens.
        host: as the user named it.
        token: becomes part of the address.
    """
    shown = sorted(own_names(), key=len)[-1] if host in WILDCARDS else host
    shown = f"[{shown}]" if ":" in shown else shown
    asked = f"?{urlencode({'token': token})}" if token else ""
    return f"http://{shown}:{listener.getsockname()[1]}/{asked}"


def can_open_browser() -> bool:
    """Whether a browser would open in a window, and not in this terminal or nowhere."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


class Server(uvicorn.Server):
    """A server that tells when it answers, and ends its streams and jobs as soon as it is told to stop."""

    def __init__(self, app: Starlette, started: Callable[[], None] | None = None) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
            ws="none",
            lifespan="on",
        )
        super().__init__(config)
        self._app, self._when_started = app, started
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started and self._when_started is not None:
            self._when_started()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What a signal does; the work ends in the event loop, since locks may be held where the signal struck."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._app.state.close)


def serve(app: Starlette, listener: socket.socket, *, browse: str | None = None) -> None:
    """Answer until Ctrl-C or a signal.

    Args:
        app: of :func:`elman.web.app.create_app`.
        listener: of :func:`listen`.
        browse: an address that is opened in the browser as soon as the server answers.
    """

    def started() -> None:
        if browse is not None:
            threading.Thread(target=webbrowser.open, args=(browse,), daemon=True).start()

    # uvicorn raises the signal again once it has ended
    with contextlib.suppress(KeyboardInterrupt):
        Server(app, started).run(sockets=[listener])
    app.state.jobs.close(GOODBYE_SECONDS)
