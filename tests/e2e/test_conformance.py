"""The Autobahn conformance cases, by ``kosoku``, against the real adapter with an echo behind it (RFC 6455).

``kosoku`` drives the case files of the Autobahn test suite. All must pass, but for those in which the contract of the
relay says otherwise; what happens instead is said in ``DIFFERENT`` and checked too.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

import pytest

from tests.e2e.support import Daemon, clean_environment, python_script

pytestmark = pytest.mark.e2e
SECONDS = 270.0


class Difference(NamedTuple):
    """Cases in which the relay does otherwise than an echo should."""

    code: int | None  #: the close code that the relay sends instead
    why: str


BINARY = Difference(1003, "binary frames are refused: the protocol has text frames only")
DIFFERENT = {
    "1.2.*": BINARY,
    "9.2.*": BINARY,
    "9.4.*": BINARY,
    "9.6.*": BINARY,
    "9.8.*": BINARY,
}
#: permessage-deflate is not agreed to: a used pair costs 97 kB a connection, which thousands of agents cannot have.
NO_DEFLATE = ["12.*", "13.*"]


def difference(case_id: str) -> Difference | None:
    return next((found for pattern, found in DIFFERENT.items() if fnmatchcase(case_id, pattern)), None)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    command = [python_script("python"), "-m", "tests.e2e.echo"]
    with Daemon(tmp_path_factory.mktemp("echo"), command=command) as daemon:
        yield daemon
        assert daemon.alive()
    assert not daemon.complaints(), daemon.past


class Result(NamedTuple):
    """What came of one case."""

    case_id: str
    passed: bool
    result: str
    behavior: str
    remote_close_code: int | None
    http_response: str


def run_cases(url: str, cases: list[str] | None = None, without: list[str] | None = None) -> list[Result]:
    """The results of all cases, good and bad."""
    command = [python_script("python"), "-m", "tests.e2e.cases", url, json.dumps(cases), json.dumps(without)]
    done = subprocess.run(command, capture_output=True, env=clean_environment(), timeout=SECONDS)
    assert done.returncode == 0, done.stderr.decode()
    return [Result(**told) for told in json.loads(done.stdout)]


def test_every_case_passes_or_differs_as_the_contract_says(echo: Daemon) -> None:
    results = run_cases(echo.ws_url, without=NO_DEFLATE)
    assert len(results) >= 300
    failed = {result.case_id: result.result for result in results if not result.passed}
    unexpected = {case_id: told for case_id, told in failed.items() if difference(case_id) is None}
    assert unexpected == {}


def test_what_differs_ends_with_the_code_of_the_contract(echo: Daemon) -> None:
    results = run_cases(echo.ws_url, cases=list(DIFFERENT))
    assert len(results) >= 35
    for result in results:
        expected = difference(result.case_id)
        assert expected is not None
        assert result.remote_close_code == expected.code, (result.case_id, expected.why)


def test_deflate_is_declined_and_not_half_agreed_to(echo: Daemon) -> None:
    (result,) = run_cases(echo.ws_url, cases=["12.1.1"])
    assert result.behavior == "UNIMPLEMENTED"
    assert "sec-websocket-extensions" not in result.http_response.lower()
