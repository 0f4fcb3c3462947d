"""The server that plays vendors does what it is told, or this proves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.docs.pages import ROOT
from tests.vendors.openai import OpenAIVendor
from tests.vendors.protocol import Fault, Kind
from tests.vendors.server import Chance, serving


def post(url: str, *texts: str, path: str = "/v1/embeddings") -> int:
    """The status of the answer; 0: none came."""
    body = json.dumps({"model": "m", "input": texts}).encode()
    try:
        with urlopen(Request(f"{url}{path}", body), timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
    except ConnectionError:
        return 0


def test_what_is_planned_happens_once_and_in_order() -> None:
    with serving(OpenAIVendor()) as server:
        server.plan(Fault(Kind.THROTTLED), Fault(Kind.RESET), Fault(Kind.UNAVAILABLE))
        assert [post(server.url, "a") for _ in range(4)] == [429, 0, 503, 200]
        server.always(Fault(Kind.WRONG_KEY))
        assert [post(server.url, "a") for _ in range(2)] == [401, 401]
        assert post(server.url, "a", path="/v1/other") == 404


def test_chance_is_as_often_as_asked_for() -> None:
    chance = Chance(throttle=0.3, fail=0.2, seed=1)
    kinds = Counter(chance.fault(["a"]).kind for _ in range(2000))
    assert kinds[Kind.THROTTLED] == pytest.approx(600, abs=80)
    assert kinds[Kind.SERVER_ERROR] == pytest.approx(400, abs=80)
    assert kinds.total() == 2000


def test_an_outage_begins_and_ends() -> None:
    assert Chance(outage_at=0.0, outage_seconds=60.0).fault(["a"]).kind is Kind.RESET
    assert Chance(outage_at=0.0, outage_seconds=0.0).fault(["a"]).kind is Kind.ANSWER
    assert Chance(outage_at=60.0).fault(["a"]).kind is Kind.ANSWER


def test_a_process_of_its_own_says_what_it_has_seen() -> None:
    command = [sys.executable, "-m", "tests.vendors.server", "--refuse-word", "bad"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            statuses = [post(url, "one", "two"), post(url, "two"), post(url, "three", "a bad one")]
            with urlopen(f"{url}/_seen") as answer:
                seen = json.load(answer)
            with urlopen(f"{url}/_requests") as answer:
                requests = json.load(answer)
        finally:
            process.kill()
    assert statuses == [200, 200, 400]
    assert (seen["requests"], seen["texts"], seen["answered_texts"]) == (3, 5, 3)
    assert (seen["distinct_texts"], seen["texts_answered_again"]) == (2, 1)
    assert seen["kinds"] == {"answer": 2, "refused": 1}
    assert [request["texts"] for request in requests] == [2, 1, 2]
