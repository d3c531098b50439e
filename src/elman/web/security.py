"""Who may ask, and what a browser may do with the answer.

The server has no users: whoever reaches it reads the runs. So it listens on the loopback interface unless told
otherwise, and then asks for a token. A page of somebody else's in the same browser reaches the loopback interface too.
Against it stand the checks of ``Host``, which refuses a name that an attacker's DNS points here, of ``Origin`` and of
``Sec-Fetch-Site``.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import secrets
import socket
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elman.web.answers import TooLargeError, refusal
from elman.web.limits import Limits

log = logging.getLogger("elman.web")

# scripts and styles come from files of the package alone, so that no text of a run can become either
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
WILDCARDS = frozenset({"0.0.0.0", "::", ""})
# of a port too: two inspectors on one machine share the browser's cookies
COOKIE = "elman-token"

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True)
class Access:
    """Who may reach the server.

    Attributes:
        host: the address that it listens on, or a name of it.
        token: what every request must carry; None where the loopback interface is guard enough.
        names: further names that a request may address the server by.

    Raises:
        ValueError: another host than the loopback interface, without a token.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    names: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if not is_loopback(self.host) and not self.token:
            raise ValueError(f"{self.host} can be reached by others and needs a token")

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` header names this server.

        A numeric address is always believed where others may connect: an attacker's page comes under a name.
        """
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].lower().strip("[]").removesuffix(".")
        if is_loopback(name) or name in self.names or name == self.host.lower():
            return True
        if is_loopback(self.host):
            return False
        return _address(name) is not None or (self.host in WILDCARDS and name in own_names())

    def admits(self, presented: str | None) -> bool:
        """Whether a token is the right one, compared in constant time."""
        if self.token is None:
            return True
        return presented is not None and hmac.compare_digest(presented.encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own and nobody else's way in."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def fresh_token() -> str:
    """A token of 192 random bits that can stand in an address."""
    return secrets.token_urlsafe(24)


def own_names() -> frozenset[str]:
    """The names under which others on the network may know this machine."""
    name = socket.gethostname().lower()
    return frozenset({name, f"{name.partition('.')[0]}.local", name.partition(".")[0]})


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Guard:
    """ASGI middleware around everything: refuses strangers, bounds bodies, sets the headers of every answer.

    Args:
        app: what is guarded.
        access: who may reach it.
        limits: how large a request may be.
    """

    def __init__(self, app: ASGIApp, access: Access, limits: Limits) -> None:
        self.app, self.access, self.limits = app, access, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            # there are no websockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refused(scope, Headers(scope=scope)) or self._entered(scope)
        if answer is not None:
            await answer(scope, receive, guarded_send)
            return
        try:
            await self.app(scope, _bounded(receive, self.limits.body), guarded_send)
        except Exception as error:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            text = f"The server failed at this request ({type(error).__name__}: {error}); its terminal shows where."
            await refusal(500, text)(scope, receive, guarded_send)

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that must not go on, else None."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.access.knows(hosts[0]):
            return refusal(403, "This server is not known under that name; open the address that it printed.")
        origins = headers.getlist("origin")
        allowed = {f"{scheme}://{hosts[0].lower()}" for scheme in ("http", "https")}
        if any(origin.lower() not in allowed for origin in origins):
            return refusal(403, "Pages of other origins may not use this server.")
        site = headers.get("sec-fetch-site", "none")
        followed = scope["path"] == "/" and scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not followed:
            return refusal(403, "Pages of other origins may not use this server.")
        declared = headers.get("content-length", "0")
        if not declared.isascii() or not declared.isdigit() or int(declared[:20]) > self.limits.body:
            return refusal(413, f"A request may have at most {self.limits.body:,} bytes.")
        if not self.access.admits(_presented(scope, headers)):
            text = "This server asks for its token: open the address that it printed when it was started."
            return refusal(401, text) if scope["path"].startswith("/api/") else PlainTextResponse(text, 401)
        return None

    def _entered(self, scope: Scope) -> Response | None:
        """The token moves from the address into a cookie, so that addresses can be shown and stored."""
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if self.access.token is None or scope["path"] != "/" or "token" not in dict(query):
            return None
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        answer = RedirectResponse("/" + (f"?{rest}" if rest else ""), 303)
        answer.set_cookie(_cookie(scope), self.access.token, httponly=True, samesite="lax", path="/")
        return answer


def _cookie(scope: Scope) -> str:
    server = scope.get("server")
    return f"{COOKIE}-{server[1]}" if server else COOKIE


def _presented(scope: Scope, headers: Headers) -> str | None:
    """The token that a request carries: as a bearer's, in the address, or in its cookie."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
    if "token" in query:
        return query["token"]
    name = _cookie(scope)
    for part in headers.get("cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return None


def _bounded(receive: Receive, most: int) -> Receive:
    """Counts a body while it arrives: a request need not say, or may lie, how long it is."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > most:
                raise TooLargeError(f"A request may have at most {most:,} bytes.")
        return message

    return counted
