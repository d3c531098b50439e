"""Who is let in, and what a browser may do with the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra web is not installed")

from starlette.testclient import TestClient
from web_cases import BASE

from elman.web.app import create_app
from elman.web.limits import Limits
from elman.web.security import Access, Guard, fresh_token, is_loopback

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8765", "localhost:8765", "localhost", "LOCALHOST.", "[::1]:8765", "127.9.9.9"]
)
def test_names_of_the_loopback_interface_are_known(client: Any, host: str) -> None:
    assert client.get("/api/runs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8765",
        "localhost.evil.example",
        "192.168.1.9:8765",
        "",
        "a b",
        "localhost:x",
        "[::2]",
    ],
)
def test_a_name_that_points_here_by_an_attackers_dns_is_refused(client: Any, host: str) -> None:
    response = client.get("/api/runs", headers={"host": host})
    assert response.status_code == 403
    assert "not known under that name" in response.json()["error"]


def test_two_hosts_are_none(client: Any) -> None:
    response = client.get("/api/runs", headers=[("host", "localhost"), ("host", "evil.example")])
    assert response.status_code == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8765", "HTTP://127.0.0.1:8765"])
def test_the_pages_own_origin_may_ask(client: Any, origin: str) -> None:
    assert client.get("/api/runs", headers={"origin": origin}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://localhost:8765"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ],
)
def test_pages_of_other_origins_may_not(client: Any, headers: dict[str, str]) -> None:
    for method in ("get", "delete"):
        response = getattr(client, method)("/api/runs", headers=headers)
        assert response.status_code == 403
        assert "other origins" in response.json()["error"]


def test_a_link_from_elsewhere_may_open_the_page(client: Any) -> None:
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=followed).status_code == 200
    assert client.post("/", headers=followed).status_code == 403


@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/none", "/static/none.js", "/none", "/api/jobs/x/events"])
def test_every_answer_has_the_headers(client: Any, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_refusals_have_the_headers_too(client: Any) -> None:
    headers = client.get("/api/runs", headers={"host": "evil.example"}).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_a_form_of_another_page_cannot_start_work(client: Any) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        response = client.post("/api/runs/planted/states", content=b"{}", headers={"content-type": kind})
        assert response.status_code == 400
        assert "application/json" in response.json()["error"]


class TestBodies:
    @pytest.fixture
    def small(self, root: Path) -> Iterator[Any]:
        with TestClient(create_app(root, limits=Limits(body=2000)), base_url=BASE) as client:
            yield client

    def test_a_body_that_says_it_is_too_long_is_refused_unread(self, small: Any) -> None:
        response = small.post("/api/runs/planted/states", json={"text": "a" * 3000})
        assert response.status_code == 413
        assert "2,000 bytes" in response.json()["error"]

    def test_a_body_that_does_not_say_is_counted_while_it_arrives(self, small: Any) -> None:
        sent = 0

        def pieces() -> Iterator[bytes]:
            nonlocal sent
            for _ in range(100):
                sent += 100
                yield b"a" * 100

        response = small.post(
            "/api/runs/planted/states", content=pieces(), headers={"content-type": "application/json"}
        )
        assert response.status_code == 413

    @pytest.mark.parametrize("length", ["-1", "1e9", "9" * 40, "\u0663"])
    def test_a_length_that_is_none_is_refused(self, small: Any, length: str) -> None:
        headers = {"content-type": "application/json", "content-length": length.encode()}
        assert small.post("/api/runs/planted/states", content=b"{}", headers=headers).status_code == 413

    @pytest.mark.parametrize("body", [b"{", b"[]", b"1", b"[" * 1500, b"\xff"])
    def test_what_is_no_object_is_refused(self, small: Any, body: bytes) -> None:
        headers = {"content-type": "application/json"}
        response = small.post("/api/runs/planted/states", content=body, headers=headers)
        assert response.status_code == 400
        assert "JSON" in response.json()["error"]


class TestTokens:
    @pytest.fixture
    def guarded(self, root: Path) -> Any:
        return TestClient(create_app(root, token=TOKEN, host="0.0.0.0"), base_url="http://192.168.1.9:8765")

    def test_without_it_nothing_is_told(self, guarded: Any) -> None:
        for path in ("/", "/api/runs", "/static/none.js", "/api/none"):
            response = guarded.get(path)
            assert response.status_code == 401
            assert "planted" not in response.text
            assert "token" in response.text

    @pytest.mark.parametrize("wrong", ["", "x", TOKEN[:-1], TOKEN + "0", "é"])
    def test_a_wrong_one_is_none(self, guarded: Any, wrong: str) -> None:
        assert guarded.get("/api/runs", params={"token": wrong}).status_code == 401
        bearer = {"authorization": f"Bearer {wrong}".encode()}
        assert guarded.get("/api/runs", headers=bearer).status_code == 401

    def test_it_may_come_as_a_bearers(self, guarded: Any) -> None:
        assert guarded.get("/api/runs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200

    def test_it_moves_from_the_address_into_a_cookie(self, guarded: Any) -> None:
        first = guarded.get("/", params={"token": TOKEN, "view": "runs & cells"}, follow_redirects=False)
        assert (first.status_code, first.headers["location"]) == (303, "/?view=runs+%26+cells")
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        assert guarded.get("/api/runs").status_code == 200
        guarded.cookies.clear()
        assert guarded.get("/api/runs").status_code == 401

    def test_numbers_are_believed_and_strange_names_are_not(self, guarded: Any) -> None:
        bearer = {"authorization": f"Bearer {TOKEN}"}
        for host, status in (("10.0.0.1:8765", 200), ("[fe80::1]", 200), ("localhost", 200), ("evil.example", 403)):
            assert guarded.get("/api/runs", headers=bearer | {"host": host}).status_code == status

    def test_other_hosts_are_never_served_without(self, root: Path) -> None:
        for host in ("0.0.0.0", "::", "192.168.1.9", "example.org"):
            with pytest.raises(ValueError, match="token"):
                TestClient(create_app(root, host=host)).get("/")

    def test_loopback_may_ask_for_one_too(self, root: Path) -> None:
        client = TestClient(create_app(root, token=TOKEN), base_url=BASE)
        assert client.get("/api/runs").status_code == 401
        assert client.get("/api/runs", params={"token": TOKEN}).status_code == 200

    def test_fresh_ones_differ(self) -> None:
        assert len({fresh_token() for _ in range(50)}) == 50
        assert len(fresh_token()) >= 32


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.0.1", "localhost.example", "", "1270.0.0.1"]))


async def _crash(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError("<b>boom</b>")


def test_an_unforeseen_failure_is_a_sentence_with_the_headers(caplog: pytest.LogCaptureFixture) -> None:
    client = TestClient(Guard(_crash, Access(), Limits()), base_url=BASE)
    response = client.get("/")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "ZeroDivisionError" in json.loads(response.text)["error"]
    assert "Traceback" not in response.text
    assert "boom" in caplog.text


def test_a_websocket_is_closed(client: Any) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/runs"):
        pass


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/..%2fserve.py", "/static/"]
)
def test_only_files_of_the_page_are_served(client: Any, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "import" not in response.text


@pytest.mark.parametrize(
    "id", ["..", "%2e%2e", "..%2f..%2fetc", "/etc", "planted%00", "planted%2f..%2fplanted", "~", "C:"]
)
def test_ids_are_never_paths(client: Any, id: str) -> None:
    for path in (f"/api/runs/{id}", f"/api/recordings/{id}/text", f"/api/recordings/planted~{id}/text"):
        assert client.get(path).status_code == 404
