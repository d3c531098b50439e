"""The real server: ports, addresses, streams that are left, a clean end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests_support import elman_command, elman_environment

pytest.importorskip("uvicorn", reason="the extra web is not installed")

from web_cases import events_of

from elman.errors import FailureError, MisuseError
from elman.web import serve
from elman.web.app import create_app
from elman.web.limits import Limits
from elman.web.serve import PORT, Server, address_of, can_open_browser, listen


@contextlib.contextmanager
def serving(app: Any) -> Iterator[int]:
    """The port at which a server in a thread answers."""
    listener = listen("127.0.0.1", 0)
    server = Server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield listener.getsockname()[1]
    finally:
        app.state.close()
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


@pytest.fixture
def app(root: Path) -> Any:
    return create_app(root, limits=Limits(streams=2, queue=2, grace=0.1))


@pytest.fixture
def port(app: Any) -> Iterator[int]:
    with serving(app) as port:
        yield port


def ask(port: int, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    content = None if body is None else json.dumps(body)
    kind = {} if body is None else {"content-type": "application/json"}
    connection.request("GET" if body is None else "POST", path, content, {**kind, **headers})
    return connection.getresponse()


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def raw(port: int, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(content)
        return received_by(connection)


def received_by(connection: socket.socket) -> bytes:
    """All until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def test_the_page_and_the_runs_are_served(port: int) -> None:
    page = ask(port, "/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<script>" not in page.read()
    assert json.loads(ask(port, "/api/runs").read())[0]["id"] == "planted"
    assert ask(port, "/api/runs").headers["server"] is None


@pytest.mark.parametrize(
    "path", [b"/static/../app.py", b"/static/..%2fapp.py", b"/../../etc/passwd", b"//etc/passwd", b"/static/%00"]
)
def test_no_path_leads_out(port: int, path: bytes) -> None:
    answer = raw(port, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"root:" not in answer
    assert b"import" not in answer


def test_small_answers_do_not_wait_for_an_acknowledgement(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    seconds = []
    for _ in range(20):
        begin = time.perf_counter()
        connection.request("GET", "/static/js/main.js")
        assert connection.getresponse().read()
        seconds.append(time.perf_counter() - begin)
    # a delayed acknowledgement takes 40 ms every time
    assert min(seconds[1:]) < 0.03


def test_a_rebound_name_is_refused(port: int) -> None:
    answer = ask(port, "/api/runs", host=f"evil.example:{port}")
    assert answer.status == 403
    assert b"planted" not in answer.read()


def test_a_request_without_a_host_is_refused(port: int) -> None:
    assert raw(port, b"GET /api/runs HTTP/1.0\r\n\r\n").split(b" ")[1] in (b"400", b"403")


def test_an_endless_body_is_cut_off(app: Any, root: Path) -> None:
    with serving(create_app(root, limits=Limits(body=100_000))) as port:
        head = b"POST /api/runs/planted/states HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        chunk = b"2710\r\n" + b"a" * 10_000 + b"\r\n"
        sent = 0
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(ConnectionError, TimeoutError):
                for _ in range(10_000):
                    connection.sendall(chunk)
                    sent += len(chunk)
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = connection.recv(65536)
        # what is in flight in both sockets' buffers, and not the hundred megabytes that were offered
        assert sent < 50_000_000
        assert not answer or answer.startswith(b"HTTP/1.1 413")


def test_a_body_that_never_ends_is_given_up(root: Path) -> None:
    with serving(create_app(root, limits=Limits(body_seconds=0.3))) as port:
        head = b"POST /api/runs/planted/states HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(head + b"Content-Length: 100\r\n\r\n{")
            answer = received_by(connection)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"did not arrive" in answer


def test_a_text_arrives_while_it_is_written(port: int) -> None:
    answer = ask(port, "/api/runs/planted/sample", {"length": 3000, "seed": 1})
    first = answer.read1(200)
    assert first.startswith(b"event: begin")
    events = events_of((first + answer.read()).decode())
    assert len([kind for kind, _ in events if kind == "token"]) == 3000
    assert events[-1][0] == "done"


def test_closing_the_connection_ends_the_writing(port: int, app: Any) -> None:
    for _ in range(6):
        answer = ask(port, "/api/runs/planted/sample", {"length": 20_000})
        answer.read1(100)
        assert any(thread.name == "elman-stream" for thread in threading.enumerate())
        answer.close()
        until(lambda: not app.state.feeds)
    until(lambda: not any(thread.name == "elman-stream" for thread in threading.enumerate()))
    assert ask(port, "/api/runs/planted/sample", {"length": 5}).read().count(b"event: token") == 5


def test_a_recording_ends_when_its_reader_goes_and_the_queue_is_bounded(port: int, app: Any) -> None:
    go = threading.Event()

    def work(job: Any) -> None:
        while not go.is_set():
            job.progress(0.5)
            time.sleep(0.005)

    first = app.state.jobs.submit("test", work)
    stream = ask(port, f"/api/jobs/{first.id}/events")
    until(lambda: first.state == "running")
    waiting = [ask(port, "/api/runs/planted/recordings", {"limit": 1000 + n}) for n in range(3)]
    assert [answer.status for answer in waiting] == [202, 202, 429]
    assert "try again" in json.loads(waiting[2].read())["error"]
    ids = [json.loads(answer.read())["job"] for answer in waiting[:2]]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("DELETE", f"/api/jobs/{ids[0]}")
    assert json.loads(connection.getresponse().read())["state"] == "cancelled"
    assert stream.read1(10).startswith(b"event: ")
    stream.close()
    until(lambda: first.state == "cancelled")
    until(lambda: json.loads(ask(port, f"/api/jobs/{ids[1]}").read())["state"] == "done")
    assert b"event: cancelled" in ask(port, f"/api/jobs/{ids[0]}/events").read()


def test_long_work_does_not_hold_up_the_server(port: int, app: Any) -> None:
    go = threading.Event()

    def busy(job: Any) -> None:
        while not go.is_set():
            sum(range(1000))

    app.state.jobs.submit("test", busy)
    try:
        for _ in range(5):
            begin = time.monotonic()
            assert ask(port, "/api/runs").status == 200
            assert time.monotonic() - begin < 2.0
    finally:
        go.set()


class TestPorts:
    def test_a_taken_one_is_a_sentence(self) -> None:
        with listen("127.0.0.1", 0) as holder:
            taken = holder.getsockname()[1]
            with pytest.raises(FailureError, match=rf"Port {taken} of 127.0.0.1 is taken.*--port 0"):
                listen("127.0.0.1", taken)

    def test_the_usual_one_falls_to_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with listen("127.0.0.1", 0) as holder:
            taken = holder.getsockname()[1]
            monkeypatch.setattr(serve, "PORT", taken)
            with listen("127.0.0.1", None) as fallen:
                assert taken < fallen.getsockname()[1] < taken + serve.TRIES
            monkeypatch.setattr(serve, "TRIES", 1)
            with pytest.raises(FailureError, match="taken"):
                listen("127.0.0.1", None)
        assert PORT == 8765

    @pytest.mark.parametrize("port", [-1, 65536])
    def test_no_port(self, port: int) -> None:
        with pytest.raises(MisuseError, match="65535"):
            listen("127.0.0.1", port)

    @pytest.mark.parametrize("host", ["no such host", "203.0.113.7", "a" * 300])
    def test_a_host_that_is_not_this_machine(self, host: str) -> None:
        with pytest.raises(MisuseError, match="--host"):
            listen(host, 0)

    def test_addresses(self) -> None:
        with listen("127.0.0.1", 0) as listener:
            number = listener.getsockname()[1]
            assert address_of(listener, "localhost") == f"http://localhost:{number}/"
            assert address_of(listener, "::1", "a-b_c") == f"http://[::1]:{number}/?token=a-b_c"
            assert address_of(listener, "0.0.0.0").startswith(f"http://{socket.gethostname()}".lower()[:10])

    def test_whether_there_is_a_browser(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serve.sys, "platform", "linux")
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
            monkeypatch.delenv(name, raising=False)
        assert not can_open_browser()
        monkeypatch.setenv("DISPLAY", ":0")
        assert can_open_browser()


class TestCommand:
    @contextlib.contextmanager
    def started(self, *arguments: object, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        command = elman_command("inspect", *arguments)
        surroundings = {**elman_environment(), "DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": "", **environment}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings)
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()
            process.communicate()

    def test_it_opens_the_browser_and_ends_with_ctrl_c(self, root: Path, tmp_path: Path) -> None:
        browser, opened = tmp_path / "browser", tmp_path / "opened"
        browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
        browser.chmod(0o755)
        with self.started(root, "--port", 0, DISPLAY=":9", BROWSER=f"{browser} %s") as (process, address):
            match = re.fullmatch(r"http://127\.0\.0\.1:([0-9]+)/", address)
            assert match is not None
            port = int(match[1])
            until(lambda: opened.exists() and opened.read_text() != "")
            assert opened.read_text().strip() == address
            assert ask(port, "/api/runs").status == 200
            # in the midst of everything
            stream = ask(port, "/api/runs/planted/sample", {"length": 20_000})
            job = json.loads(ask(port, "/api/runs/planted/recordings", {"source": "train"}).read())["job"]
            events = ask(port, f"/api/jobs/{job}/events")
            assert stream.read1(20)
            assert events.read1(20)
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
            assert process.returncode == 0
            assert "Traceback" not in out + err
            assert "1 run: planted" in err
            assert time.monotonic() - begin < 10

    def test_another_host_gets_a_token(self, root: Path) -> None:
        with self.started(root, "--port", 0, "--host", "0.0.0.0", "--no-browser") as (_, address):
            match = re.fullmatch(r"http://[^/]+:([0-9]+)/\?token=([\w-]{32})", address)
            assert match is not None
            port = int(match[1])
            until(lambda: _answers(port))
            assert ask(port, "/api/runs").status == 401
            assert ask(port, "/api/runs", authorization=f"Bearer {match[2]}").status == 200

    def test_mistakes_are_sentences(self, elman: Callable[..., Any], root: Path, tmp_path: Path) -> None:
        (tmp_path / "nothing").mkdir()
        with listen("127.0.0.1", 0) as holder:
            taken = holder.getsockname()[1]
            for arguments, code, sentence in (
                ([tmp_path / "none"], 2, "There is no folder"),
                ([tmp_path / "nothing"], 2, "holds none. Train a model first"),
                ([root, "--port", taken], 1, f"Port {taken} of 127.0.0.1 is taken"),
                ([root, "--port", 70000], 2, "65535"),
                ([root, "--token", "a b"], 2, "--token takes"),
                ([root, "--text", tmp_path / "none.txt"], 2, "cannot be read"),
                ([root, "--text", __file__, "--encoding", "klingon"], 2, "Name its encoding"),
                ([root, "--host", "203.0.113.7"], 2, "--host"),
            ):
                ended = elman("inspect", *arguments, "--no-browser")
                assert (ended.returncode, sentence in ended.stderr) == (code, True), ended.stderr
                assert ended.stderr.count("\n") == 1


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return ask(port, "/").status in (200, 401)
    return False


def test_without_the_extra_the_sentence_names_it(tmp_path: Path, root: Path) -> None:
    (tmp_path / "starlette.py").write_text("raise ImportError('not here')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(elman_command("inspect", root), capture_output=True, text=True, env=environment, timeout=60)
    assert ended.returncode == 2
    assert "pip install 'elman[web]'" in ended.stderr
    assert "Traceback" not in ended.stderr
