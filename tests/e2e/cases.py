"""Runs the conformance cases and prints what came of each, as one JSON list: ``python -m tests.e2e.cases URL …``.

A process of its own: ``kosoku`` brings a small package named ``autobahn`` for its case files, which must not meet the
real one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import kosoku

SECONDS = 240.0


async def run(url: str, cases: list[str] | None, without: list[str] | None) -> list[Any]:
    """The results of all cases, good and bad."""
    try:
        return await asyncio.wait_for(kosoku.run_fuzzingclient(url, cases, without, concurrency=2), SECONDS)
    except kosoku.FailureError as failure:
        return list(failure.results)  # all of them, the good ones too


def main(url: str, cases: str, without: str) -> None:
    results = asyncio.run(run(url, json.loads(cases), json.loads(without)))
    told = [
        {
            "case_id": result.case_id,
            "passed": result.passed,
            "result": result.result,
            "behavior": result.behavior.value,
            "remote_close_code": result.remote_close_code,
            "http_response": result.http_response,
        }
        for result in results
    ]
    json.dump(told, sys.stdout)
    sys.stdout.flush()
    # The threads of kosoku now and then abort a Python that is winding down.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
