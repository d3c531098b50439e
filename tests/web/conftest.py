"""A folder of runs, and the inspector over it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from insight.planted import planted_run
from web_cases import BASE, Ended, events_of


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the planted model; not to be written to."""
    return planted_run(tmp_path_factory.mktemp("planted"), 60_000)


@pytest.fixture
def root(planted: Path, tmp_path: Path) -> Path:
    """A folder of one run of the test's own, without recordings."""
    folder = tmp_path / "runs"
    shutil.copytree(planted, folder / "planted", ignore=shutil.ignore_patterns("insight"))
    return folder


@pytest.fixture
def client(root: Path) -> Iterator[Any]:
    """A browser at the inspector over that folder."""
    from starlette.testclient import TestClient

    from elman.web.app import create_app

    with TestClient(create_app(root), base_url=BASE) as client:
        yield client


@pytest.fixture
def finished(client: Any) -> Callable[..., Ended]:
    """(path, body) -> how the job ended that a POST there began, and every event of it."""

    def post(path: str, body: dict[str, Any]) -> Ended:
        response = client.post(path, json=body)
        assert response.status_code == 202, response.text
        with client.stream("GET", f"/api/jobs/{response.json()['job']}/events") as stream:
            return Ended(events_of("".join(stream.iter_text())))

    return post


@pytest.fixture
def recording(finished: Callable[..., Ended]) -> str:
    """The id of a recording of the validation part, 6,000 characters."""
    return finished("/api/runs/planted/recordings", {}).result["recording"]
