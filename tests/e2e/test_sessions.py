"""Who holds an agent, how the relay notices that nobody does, and how a session ends (protocol 2.3, 2.4)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import Answer, get, post
from tests.e2e.support import Daemon
from tests.e2e.wire import PING, PONG, Ended, Wire, frame, text

pytestmark = pytest.mark.e2e
Join = Callable[..., Agent]
OpenWire = Callable[..., Wire]
Posting = Callable[..., Future[Answer]]
Starter = Callable[..., Daemon]


def test_a_second_agent_of_a_name_is_refused_while_the_first_lives(
    shared: Daemon, join: Join, open_wire: OpenWire
) -> None:
    holder = join(shared, "twin", acknowledge, client="the first")
    newcomer = open_wire(shared)
    newcomer.say(type="register", agent="twin")
    refusal = newcomer.hear("error")
    assert refusal["code"] == "duplicate"
    assert refusal["holder"]["client"] == "the first"
    assert refusal["holder"]["since"] and refusal["holder"]["node"]
    assert newcomer.ended().code == 4000
    assert post(shared.port, "twin", "1", wait=10).outcome == "delivered"
    assert holder.end is None


def test_the_right_resume_takes_over_at_once(shared: Daemon, join: Join) -> None:
    ghost = join(shared, "ghost")
    waiting_for = post(shared.port, "ghost", '"still mine"', wait=0)
    ghost.next()
    heir = join(shared, "ghost", resume=ghost.session)
    assert ghost.ended().code == 4001
    again = heir.next()
    assert (again["id"], again["attempt"]) == (waiting_for.json["id"], 2)


def test_what_the_replaced_socket_says_counts_no_more(shared: Daemon, join: Join, open_wire: OpenWire) -> None:
    old = open_wire(shared)
    session = old.register("usurped")["session"]
    message_id = post(shared.port, "usurped", "1", wait=0).json["id"]
    heir = join(shared, "usurped", resume=session, ack_wait=0)
    old.say(type="ack", id=message_id)
    assert old.ended().code == 4001
    assert heir.next()["id"] == message_id
    heir.nothing_more()
    assert get(shared.port, "/v1/agents/usurped").json["queued"] == 1


def test_a_wrong_resume_takes_nothing(shared: Daemon, join: Join, open_wire: OpenWire) -> None:
    holder = join(shared, "guarded")
    thief = open_wire(shared)
    thief.say(type="register", agent="guarded", resume="0" * len(holder.session))
    assert thief.hear("error")["code"] == "duplicate"
    assert thief.ended().code == 4000
    holder.nothing_more()


def test_a_holder_that_stops_answering_loses_its_place(shared: Daemon, join: Join, open_wire: OpenWire) -> None:
    silent = open_wire(shared)
    silent.register("asleep")
    message_id = post(shared.port, "asleep", '"wake up"', wait=0).json["id"]
    newcomer = join(shared, "asleep", acknowledge)  # nobody reads at the other end: the probe is not answered
    again = newcomer.next()
    assert (again["id"], again["attempt"]) == (message_id, 2)
    silent.ended()
    assert post(shared.port, "asleep", "2", wait=10).outcome == "delivered"


def test_the_newcomers_frames_are_kept_while_the_holder_is_probed(shared: Daemon, open_wire: OpenWire) -> None:
    silent = open_wire(shared)
    silent.register("probed")
    newcomer = open_wire(shared, after=text(type="register", agent="probed") + text(type="ping", ref="early"))
    newcomer.hear("registered")
    assert newcomer.hear("pong")["ref"] == "early"


def test_with_replace_the_newcomer_wins(start: Starter, join: Join) -> None:
    relay = start("--on-duplicate", "replace")
    first = join(relay, "desk")
    second = join(relay, "desk", acknowledge)
    assert first.ended().code == 4001
    assert post(relay.port, "desk", "1", wait=10).outcome == "delivered"
    assert second.end is None


def test_one_that_never_answers_a_ping_is_dropped_after_two(start: Starter, open_wire: OpenWire) -> None:
    relay = start("--heartbeat", "1")
    deaf = open_wire(relay)
    assert deaf.register("deaf")["heartbeat"] == 1
    pings = 0
    with pytest.raises(Ended) as end:
        while True:
            assert deaf.frame().opcode == PING
            pings += 1
    assert end.value.code == 1006
    assert pings == 2
    assert get(relay.port, "/v1/agents/deaf").json["connected"] is False
    assert post(relay.port, "deaf", "1").outcome == "queued: away"


def test_one_that_answers_every_other_ping_stays(start: Starter, open_wire: OpenWire) -> None:
    relay = start("--heartbeat", "1")
    lazy = open_wire(relay)
    lazy.register("lazy")
    for number in range(5):
        ping = lazy.frame()
        assert ping.opcode == PING
        if number % 2:
            lazy.put(frame(ping.payload, PONG))
    lazy.barrier()


def test_an_unacknowledged_post_finds_out_that_nobody_is_there(shared: Daemon, open_wire: OpenWire) -> None:
    absent = open_wire(shared)
    absent.register("absent-minded")
    assert post(shared.port, "absent-minded", "1", wait=1).outcome == "queued: silent"
    # Nothing was heard since: nobody waits a second time for an agent that may be gone.
    second = post(shared.port, "absent-minded", "2", wait=30)
    assert second.outcome == "queued: silent"
    assert absent.hear("message")["payload"] == 1
    absent.barrier()
    third = post(shared.port, "absent-minded", "3", wait=0)
    assert third.outcome == "queued: sent"


def test_a_connection_that_does_not_register_is_closed(start: Starter, open_wire: OpenWire) -> None:
    relay = start(environment={"RELAY_LIMITS_REGISTER_SECONDS": "1"})
    assert open_wire(relay).ended().code == 4002


@pytest.mark.parametrize(
    "first",
    [
        text(type="ack", id="1"),
        text(type="ping"),
        text(type="register", agent=".."),
        text(type="register", agent="a b"),
        text(type="register", agent=7),
        text(type="register", agent="x" * 129),
        text(type="register", agent="bad-window", max_in_flight="many"),
        text(type="register", agent="bad-resume", resume=12),
        text(type="register", agent="bad-client", client="x" * 129),
        frame("{"),
        frame("[]"),
        frame('"register"'),
    ],
)
def test_a_malformed_first_frame_ends_the_connection(shared: Daemon, open_wire: OpenWire, first: bytes) -> None:
    end = open_wire(shared, after=first).ended()
    assert (end.code, end.reason != "") == (4002, True)


def test_registering_twice_is_an_error_and_changes_nothing(shared: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(shared)
    wire.register("settled")
    wire.say(type="register", agent="another")
    assert wire.hear("error")["code"] == "already-registered"
    assert get(shared.port, "/v1/agents/another").status == 404
    assert get(shared.port, "/v1/agents/settled").json["connected"] is True


def test_bounds_of_a_registration_are_clamped(shared: Daemon, open_wire: OpenWire) -> None:
    told = open_wire(shared).register("greedy", max_in_flight=1_000_000, ack_wait=99_999)
    assert (told["max_in_flight"], told["ack_wait"]) == (10_000, 3600)


@pytest.mark.parametrize("protocols", [("relay.v1",), ("chat", "relay.v1"), ()])
def test_the_subprotocol_is_chosen_when_it_is_offered(
    shared: Daemon, open_wire: OpenWire, protocols: tuple[str, ...]
) -> None:
    wire = open_wire(shared, protocols=protocols)
    assert wire.answer.status == 101
    assert wire.answer.headers.get("sec-websocket-protocol") == ("relay.v1" if protocols else None)
    wire.register(f"offers-{len(protocols)}")


def test_only_foreign_subprotocols_are_refused(shared: Daemon, open_wire: OpenWire) -> None:
    assert open_wire(shared, protocols=("chat", "mqtt")).answer.status == 400


def test_deflate_is_not_agreed_to(shared: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(shared, headers={"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"})
    assert wire.answer.status == 101
    assert "sec-websocket-extensions" not in wire.answer.headers


def test_an_agent_that_says_goodbye_is_answered(shared: Daemon, open_wire: OpenWire) -> None:
    wire = open_wire(shared)
    wire.register("polite")
    wire.close(1000)
    assert wire.ended().code == 1000
    assert get(shared.port, "/v1/agents/polite").json["connected"] is False


@pytest.mark.parametrize("leaving", ["drop", "reset"])
def test_a_torn_connection_leaves_its_messages_queued(
    shared: Daemon, join: Join, open_wire: OpenWire, posting: Posting, leaving: str
) -> None:
    wire = open_wire(shared)
    wire.register(f"torn-{leaving}")
    waiting = posting(shared, f"torn-{leaving}", '"hello"', wait=30)
    message = wire.hear("message")
    getattr(wire, leaving)()
    assert waiting.result().outcome == "queued: lost"
    assert join(shared, f"torn-{leaving}").next()["id"] == message["id"]
