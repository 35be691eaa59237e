"""Noise at both doors: nothing but documented answers, no trace in the log, no leak, and nobody disturbed.

What is sent comes from ``noise.py`` by a seed and a number. ``RELAY_FUZZ_FRAMES`` and ``RELAY_FUZZ_REQUESTS`` say how
many, over all relays; ``RELAY_FUZZ_SEED`` which. A failure names its seed and number, and shows its bytes.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import pytest

from relay.core.tokenfile import TokenEntry, digest_of, with_token
from tests.e2e.agents import Agent, acknowledge
from tests.e2e.bystander import undisturbed
from tests.e2e.door import dial, get, post
from tests.e2e.support import Daemon
from tests.faults.noise import Conversations, Requests, spoil
from tests.faults.storm import CONNECTIONS, Talk, judge_frames, judge_http, storm

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

SEED: Final = os.environ.get("RELAY_FUZZ_SEED", "relay")
FRAMES: Final = int(os.environ.get("RELAY_FUZZ_FRAMES", "6000"))
REQUESTS: Final = int(os.environ.get("RELAY_FUZZ_REQUESTS", "1500"))
#: From so many on there is enough of a warm-up that memory must be flat after it.
ENOUGH: Final = 50_000
WARM_UP: Final = 0.6  #: of all: until then the caches of the store fill
FLAT: Final = 1.05
MIB: Final = 1024 * 1024
SIZE: Final = 25  #: frames of a talk

#: Deadlines and memories are short: otherwise a campaign would wait, and what may be remembered would look like a leak.
HASTE: Final = {
    "RELAY_LIMITS_HEAD_SECONDS": "5",  # a bystander's must come too, in a turn that a hundred others are served in
    "RELAY_LIMITS_IDLE_SECONDS": "0.5",
    "RELAY_LIMITS_BODY_GRACE": "0.5",
    "RELAY_LIMITS_REGISTER_SECONDS": "0.5",
    "RELAY_LIMITS_MESSAGE_SECONDS": "0.3",
    "RELAY_LIMITS_CLOSE_SECONDS": "0.5",
    "RELAY_LIMITS_LINGER_SECONDS": "0.3",
    "RELAY_LIMITS_PROBE_SECONDS": "0.5",
    "RELAY_LIMITS_AUTH_DELAY": "0.1",
    "RELAY_LIMITS_TTL": "30",
    "RELAY_LIMITS_TTL_MAX": "30",
    "RELAY_LIMITS_REMEMBERED": "1000",
    "RELAY_LIMITS_EVENTS": "1000",
    "RELAY_LIMITS_KNOWN_AGENTS": "1000",
    "RELAY_LIMITS_JWT_CACHED": "100",
}
AGENTS: Final = [f"fuzz-{number}" for number in range(8)]
KEEPER: Final = "keeper"
TOKENS: Final = {
    "publisher": {"publish": ("*",)},
    "agent": {"agent": ("fuzz-*", "again")},
    "both": {"publish": ("fuzz-*",), "agent": ("fuzz-*",)},
    "admin": {"admin": True},
}
_PROMISED: Final = re.compile(rb'"id":"([^"]+)","agent":"keeper","status":"(?:delivered|queued|accepted)"')


class House:
    """A relay, and who does nothing wrong in it: a bystander at it all the time, and whoever keeps what is promised."""

    def __init__(self, relay: Daemon, secrets: dict[str, str]) -> None:
        self.relay = relay
        self.secrets = secrets
        self.promised: set[str] = set()
        self.counts: dict[int, int] = {}  #: bytes in RAM after so many

    @property
    def tokens(self) -> list[str | None]:
        """Those that noise may bring; the first may publish."""
        return [*self.secrets.values(), "wrong", "a.b.c", None] if self.secrets else [None, "unasked-for"]

    def bears(self, came: bytes) -> str:
        """Note what was promised in an answer."""
        self.promised |= {found.decode() for found in _PROMISED.findall(came)}
        return ""

    def account(self, keeper: Agent) -> None:
        """Everything that was promised came to whoever it was for, or its end is on record."""
        assert post(self.relay.port, KEEPER, '"last"', wait=10, headers=self.bearer("publisher")).outcome == "delivered"
        missing = self.promised - {message["id"] for message in keeper.messages}
        ends = {"expired", "replaced", "cancelled", "delivered"}
        answers = {id: get(self.relay.port, f"/v1/messages/{id}", self.bearer("admin")) for id in missing}
        lost = {id: answer.body for id, answer in answers.items() if answer.json.get("status") not in ends}
        assert not lost, f"of {len(self.promised)} promises: {lost}"
        assert keeper.end is None

    def bearer(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secrets[name]}"} if self.secrets else {}

    def endure(self, talks: Iterator[Talk], total: int) -> None:
        """All of it; then nothing may be wrong, and memory be as it was after the warm-up."""
        done, warm, began = 0, 0, time.monotonic()

        def progress(count: int) -> None:
            nonlocal done, warm
            done += count
            if not warm and done >= WARM_UP * total:
                warm = self.relay.resident()

        wrong = storm(self.relay.port, talks, progress)
        assert not wrong, f"{len(wrong)} of {total} were taken wrongly, the first: {wrong[0]}"
        now = self.relay.resident()
        seconds = time.monotonic() - began
        told = f"seed {SEED}: {done} in {seconds:.0f} s, {warm / MIB:.1f} MiB, then {now / MIB:.1f} MiB"
        print(told, file=sys.stderr)
        assert now <= warm * FLAT if total >= ENOUGH else now - warm < 64 * MIB, told


@pytest.fixture(scope="module", params=["open", "guarded"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A hasty relay, with and without tokens."""
    folder, secrets, environment = tmp_path_factory.mktemp("relay"), {}, dict(HASTE)
    if request.param == "guarded":
        secrets = {name: f"{name}-secret" for name in [*TOKENS, "bystander"]}
        scopes = {**TOKENS, "bystander": {"publish": ("*",), "agent": ("*",)}}
        text = ""
        for name, scope in scopes.items():
            text = with_token(text, TokenEntry(name, digest_of(secrets[name]), **scope))  # type: ignore[arg-type]  # its scopes
        (folder / "auth.toml").write_text(text)
        environment["RELAY_AUTH_FILE"] = "auth.toml"
    own = secrets.pop("bystander", None)
    with Daemon(folder, environment=environment) as daemon:
        house = House(daemon, secrets)
        with (
            undisturbed(daemon, token=own),
            Agent(daemon.port, KEEPER, acknowledge, **({"token": own} if own else {})) as keeper,
        ):
            yield house
            if secrets:  # without tokens everybody may end everything
                house.account(keeper)
        assert daemon.descriptors() < 100
        assert daemon.terminate() == 0
    assert not daemon.complaints(), daemon.past[-10_000:]


def test_spoiled_requests_get_documented_answers(house: House) -> None:
    requests, total = Requests(house.tokens, AGENTS, KEEPER), REQUESTS // 2
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    def talks() -> Iterator[Talk]:
        numbers = itertools.count()
        for number in itertools.takewhile(lambda _: next(numbers) < total, range(total)):
            chance = Random(f"{SEED} request {number}")
            # What follows a sound one in its segment is the next one.
            said = [requests.spoiled(chance) for _ in range(chance.choice([1, 1, 1, 2, 4]))]
            for _ in said[1:]:
                next(numbers)
            yield Talk(f"{SEED} request {number}", b"".join(said) + last, len(said), judge)

    def judge(came: bytes) -> str:
        return house.bears(came) or judge_http(came)

    house.endure(talks(), total)


def test_spoiled_frames_get_documented_answers(house: House) -> None:
    conversations, total = Conversations(AGENTS, KEEPER), FRAMES // 2
    tokens = [house.secrets.get("both"), house.secrets.get("agent"), "wrong"] if house.secrets else [None]
    port = house.relay.port

    def talks() -> Iterator[Talk]:
        for number in range(total // SIZE):
            chance = Random(f"{SEED} talk {number}")
            # Nobody else is this one now: those before it are over, or have been silent for long.
            agent = f"fuzz-{number % (4 * CONNECTIONS)}"
            token = chance.choice([tokens[0], tokens[0], tokens[0], *tokens])
            said = conversations.spoiled(port, agent, token, SIZE, chance)
            yield Talk(f"{SEED} talk {number}", said, SIZE, judge)

    def judge(came: bytes) -> str:
        return house.bears(came) or judge_frames(came)

    house.endure(talks(), total)


def test_the_stores_file_is_sound_afterwards(tmp_path: Path) -> None:
    requests = Requests([None], AGENTS, KEEPER)
    with Daemon(tmp_path) as relay:
        for number in range(50):
            with dial(relay.port) as line:
                chance = Random(f"store {number}")
                line.sendall(spoil(requests.sound(chance).encoded(chance), chance))
        assert relay.terminate() == 0
        relay.start()
        assert relay.terminate() == 0
