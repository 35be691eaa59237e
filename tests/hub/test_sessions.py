"""Sessions: registration, duplicates, heartbeat, errors, closes (protocol 2.3 and 2.4)."""

from __future__ import annotations

import json

import pytest

from relay.hub.registry import REGISTER_AT_ONCE
from tests.hub.support import Floor


def test_registered_is_the_first_frame_and_says_what_applies() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=50_000, ack_wait=7200, client="test 1")
    (frame,) = agent.heard()
    assert frame == {
        "type": "registered",
        "agent": "desk-1",
        "session": agent.session,
        "queued": 0,
        "heartbeat": 30,
        "ack_timeout": 5,
        "ack_wait": 3600,
        "max_in_flight": 10_000,
        "max_frame": 2 * 1024 * 1024,
        "durable": False,
        "server": "relay-test",
        "node": "node-1",
    }


def test_who_does_not_register_in_time_is_closed() -> None:
    floor = Floor()
    agent = floor.agent()
    floor.pass_time(9)
    assert agent.wire.closed is None
    floor.pass_time(1)
    assert agent.wire.closed == (4002, "register-late")


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "ack", "id": "x"},
        {"type": "publish", "agent": "x", "payload": 1},
        {"type": "register", "agent": ".."},
        {"type": "register", "agent": "a", "max_in_flight": "many"},
        {"type": "register", "agent": "a", "max_in_flight": 0},
        {"type": "register", "agent": "a", "max_frame": 1000},
        {"type": "register", "agent": "a", "client": "x" * 129},
        {"type": "register", "agent": "a", "ack_wait": -1},
        {"type": "nothing"},
        {},
    ],
)
def test_a_first_frame_that_does_not_register_is_told_why_and_closed(frame: dict[str, object]) -> None:
    agent = Floor().agent()
    agent.conversation.received(json.dumps(frame).encode())
    assert agent.wire.frames[-1]["type"] == "error"
    assert agent.wire.closed is not None
    assert agent.wire.closed[0] == 4002


def test_an_error_names_what_its_frame_was_about_as_far_as_that_can_be_read() -> None:
    floor = Floor(frames=20)
    agent = floor.agent().register()
    for frame, about in [
        ('{"type":"nack","id":"m-1","delay":-1}', {"id": "m-1"}),
        ('{"type":"ack","id":"m-1","ids":["m-2"]}', {"id": "m-1"}),
        ('{"type":"ack","id":"m-1","confirm":"yes"}', {"id": "m-1"}),
        ('{"type":"dance","ref":"r-1","id":"m-1"}', {"ref": "r-1", "id": "m-1"}),
        ('{"type":"dance","ref":7,"id":"m-1"}', {"id": "m-1"}),
        ('{"type":"dance","ref":"%s","id":"m-1"}' % ("x" * 65), {"id": "m-1"}),
        ('{"type":"dance","ref":null,"id":["m-1"]}', {}),
        ('{"type":"register","ref":"r-1"}', {"ref": "r-1"}),
        ('{"id":"m-1"}', {"id": "m-1"}),
        ('{"type":"ack","id":"m-1"', {}),
    ]:
        agent.conversation.received(frame.encode())
        (error,) = agent.heard("error")
        assert {name: error[name] for name in ("id", "ref") if name in error} == about, frame
    while not (refused := agent.heard("error")):
        agent.say("ping", ref="r-2")
    assert (refused[0]["code"], refused[0]["ref"]) == ("rate-limited", "r-2")
    floor.clock.advance(1)
    publisher = floor.agent()
    publisher.say("register")
    publisher.say("ack", id="m-1")
    assert [(error["code"], error["id"]) for error in publisher.heard("error")] == [("not-allowed", "m-1")]
    stranger = floor.agent()
    stranger.say("register", agent="a b", ref="r-3")
    assert [error["ref"] for error in stranger.heard("error")] == ["r-3"]


def test_a_bad_frame_has_no_effect_and_the_connection_stays() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post()
    (id,) = agent.ids()
    for frame, code in [
        (b"{", "invalid-frame"),
        (b"[]", "invalid-frame"),
        (b'{"type":"ack"}', "invalid-frame"),
        (b'{"type":"ack","id":7}', "invalid-frame"),
        (b'{"type":"ack","id":"a","ids":["b"]}', "invalid-frame"),
        (b'{"type":"nack","id":"%s","delay":-1}' % id.encode(), "invalid-frame"),
        (b'{"type":"window","max_in_flight":-1}', "invalid-frame"),
        (b'{"type":"ack","id":"%s","x":NaN}' % id.encode(), "invalid-frame"),
        (b'{"type":"ack","id":"%s","x":' % id.encode() + b"[" * 2000 + b"]" * 2000 + b"}", "invalid-frame"),
        (b'{"type":"dance"}', "unknown-type"),
        (b'{"type":"register","agent":"desk-1"}', "already-registered"),
    ]:
        agent.conversation.received(frame)
        assert [error["code"] for error in agent.heard("error")] == [code]
    assert agent.wire.closed is None
    assert answer.said == "waiting"
    agent.conversation.received(b'{"type":"ack","id":"%s","unheard":{"of":1}}' % id.encode())
    assert answer.said == "delivered"


def test_too_many_errors_close_the_session() -> None:
    floor = Floor()
    agent = floor.agent().register()
    for _ in range(100):
        agent.say("dance")
    assert agent.wire.closed is None
    agent.say("dance")
    assert agent.wire.closed == (4004, "too-many-errors")


def test_errors_of_more_than_a_minute_ago_are_forgiven() -> None:
    floor = Floor()
    agent = floor.agent().register()
    for _ in range(3):
        for _ in range(100):
            agent.say("dance")
        floor.pass_time(60)
    assert agent.wire.closed is None


def test_a_ping_frame_is_answered_with_its_ref() -> None:
    agent = Floor().agent().register()
    agent.say("ping", ref="r1")
    (pong,) = agent.heard("pong")
    assert pong == {"type": "pong", "ref": "r1", "time": "2027-01-15T08:00:00.000Z"}


# -- heartbeat


def test_a_session_is_pinged_every_30_seconds_and_dropped_after_two_strikes() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.pass_time(30)
    assert agent.wire.pings == 1
    floor.pass_time(30)
    assert agent.wire.pings == 2
    floor.pass_time(29)
    assert not agent.wire.aborted
    floor.pass_time(1)
    assert agent.wire.aborted
    assert agent.wire.closed is None
    assert floor.post().said == "queued:away"


def test_any_frame_is_a_sign_of_life() -> None:
    floor = Floor()
    agent = floor.agent().register()
    for _ in range(10):
        floor.pass_time(50)
        agent.conversation.heard()
    assert not agent.wire.aborted


def test_a_slow_reader_of_a_large_message_is_not_dead() -> None:
    floor = Floor()
    agent = floor.agent().register()
    agent.wire.stalled = True
    floor.post("x" * 500_000, wait=30)
    for _ in range(300):
        floor.pass_time(1)
        agent.wire.take(1000)
    assert not agent.wire.aborted
    assert agent.wire.closed is None


def test_a_socket_that_takes_nothing_for_30_seconds_is_closed_as_too_slow() -> None:
    floor = Floor()
    agent = floor.agent().register()
    agent.wire.stalled = True
    floor.post("x" * 1000)
    floor.pass_time(30)
    assert agent.wire.closed is None
    floor.pass_time(2)
    assert agent.wire.closed == (4008, "too-slow")


# -- duplicates


def test_a_second_registration_is_refused_when_the_holder_shows_a_sign_of_life() -> None:
    floor = Floor()
    holder = floor.agent().register(client="first")
    newcomer = floor.agent().register()
    assert holder.wire.pings == 1
    assert newcomer.wire.closed is None
    holder.conversation.heard()
    (error,) = newcomer.heard("error")
    assert error["code"] == "duplicate"
    assert error["holder"] == {"since": "2027-01-15T08:00:00.000Z", "client": "first", "node": "node-1"}
    assert newcomer.wire.closed == (4000, "duplicate; retry_after=60")
    answer = floor.post()
    holder.ack(*holder.ids())
    assert answer.said == "delivered"


def test_one_proof_of_life_serves_all_newcomers_for_a_second() -> None:
    floor = Floor()
    holder = floor.agent().register()
    newcomers = [floor.agent().register() for _ in range(3)]
    assert holder.wire.pings == 1
    holder.conversation.heard()
    late = floor.agent().register()
    assert holder.wire.pings == 1
    assert [agent.wire.closed and agent.wire.closed[0] for agent in [*newcomers, late]] == [4000] * 4
    floor.pass_time(1.5, step=0.5)
    floor.agent().register()
    assert holder.wire.pings == 2


def test_a_silent_holder_is_dropped_and_the_newcomer_registered() -> None:
    floor = Floor()
    holder = floor.agent().register()
    floor.post(wait=0)
    floor.post(wait=0)
    newcomer = floor.agent().register()
    floor.pass_time(2)
    assert holder.wire.aborted
    assert [frame.get("payload") for frame in newcomer.heard()] == [None, 1, 2]
    assert newcomer.wire.held is False


def test_what_a_newcomer_says_while_the_holder_is_asked_is_kept() -> None:
    floor = Floor()
    floor.agent().register()
    newcomer = floor.agent().register()
    newcomer.say("ping", ref="kept")
    assert newcomer.wire.held
    floor.pass_time(2)
    assert [frame["type"] for frame in newcomer.heard()] == ["registered", "pong"]


def test_the_right_resume_takes_over_at_once_and_the_old_socket_counts_no_more() -> None:
    floor = Floor()
    old = floor.agent().register()
    answer = floor.post(wait=30)
    (id,) = old.ids()
    new = floor.agent().register(resume=old.session)
    assert old.wire.closed == (4001, "replaced")
    assert answer.said == "queued:lost"
    old.ack(id)
    assert [frame["attempt"] for frame in new.heard("message")] == [2]
    new.leave()
    assert floor.agent().register().messages() == [1]


def test_resume_also_knows_the_session_that_the_holder_took_over() -> None:
    floor = Floor()
    first = floor.agent().register()
    second = floor.agent().register(resume=first.session)
    third = floor.agent().register(resume=first.session)
    assert second.wire.closed == (4001, "replaced")
    assert third.heard()[0]["type"] == "registered"


def test_who_waits_for_a_sign_of_life_does_not_slip_in_when_another_takes_over() -> None:
    floor = Floor()
    holder = floor.agent().register()
    waiting = floor.agent().register()
    new = floor.agent().register(resume=holder.session)
    assert [frame["type"] for frame in new.heard()] == ["registered"]
    assert waiting.heard() == []
    new.conversation.heard()
    assert waiting.wire.closed is not None
    assert waiting.wire.closed[0] == 4000
    answer = floor.post()
    new.ack(*new.ids())
    assert answer.said == "delivered"


def test_who_came_back_after_its_ghost_was_gone_and_did_not_hear_so_comes_again_at_once() -> None:
    floor = Floor()
    first = floor.agent().register()
    first.crash()
    second = floor.agent().register(resume=first.session)
    third = floor.agent().register(resume=first.session)
    assert second.wire.closed == (4001, "replaced")
    assert third.heard()[0]["type"] == "registered"


def test_a_session_of_before_a_restart_is_known_as_one() -> None:
    floor = Floor()
    first = floor.agent().register()
    floor.restart()
    floor.agent().register(resume=first.session)
    assert floor.agent().register(resume=first.session).heard()[0]["type"] == "registered"


@pytest.mark.parametrize("name", ["guess", "", "0" * 48, "é" * 48])
def test_a_name_that_the_relay_never_gave_takes_nothing_over_however_often_it_comes(name: str) -> None:
    floor = Floor()
    holder = floor.agent().register(resume=name)
    floor.agent().register(resume=name)
    holder.conversation.heard()
    assert holder.wire.closed is None


def test_the_session_of_another_agent_takes_nothing_over() -> None:
    floor = Floor()
    other = floor.agent().register("desk-2")
    holder = floor.agent().register(resume=other.session)
    floor.agent().register(resume=other.session)
    holder.conversation.heard()
    assert holder.wire.closed is None


def test_a_wrong_resume_takes_nothing_over() -> None:
    floor = Floor()
    holder = floor.agent().register()
    newcomer = floor.agent().register(resume="guess")
    holder.conversation.heard()
    assert newcomer.wire.closed is not None
    assert newcomer.wire.closed[0] == 4000


def test_the_configuration_may_let_the_newcomer_win() -> None:
    floor = Floor(on_duplicate="replace")
    old = floor.agent().register()
    floor.agent().register()
    assert old.wire.closed == (4001, "replaced")


def test_the_newcomer_chooses_only_where_the_server_allows_it() -> None:
    floor = Floor(on_duplicate="choice")
    old = floor.agent().register()
    floor.agent().register(on_duplicate="reject")
    assert old.wire.closed is None
    floor.agent().register(on_duplicate="replace")
    assert old.wire.closed == (4001, "replaced")


# -- storms, draining, store


def test_registrations_past_the_rate_are_told_when_to_come_back() -> None:
    floor = Floor(registrations=3)
    agents = [floor.agent().register(f"a{number}") for number in range(4)]
    assert agents[2].wire.closed is None
    assert agents[3].wire.closed is not None
    code, reason = agents[3].wire.closed
    assert code == 4013
    assert reason.startswith("overloaded; retry_after=")


def test_a_drain_answers_who_waits_and_then_sends_the_agents_away() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    first, second = floor.post(wait=30), floor.post(wait=30)
    drained = floor.hub.drain()
    assert floor.post().said == "draining"
    assert second.said == "queued:draining"
    assert first.said == "waiting"
    agent.ack(*agent.ids())
    assert first.said == "delivered"
    floor.clock.advance(0)
    assert agent.wire.closed is not None
    assert agent.wire.closed[0] == 1001
    agent.leave(1001)
    floor.clock.advance(0)
    assert drained.called


def test_a_drain_waits_no_longer_than_its_limit() -> None:
    floor = Floor()
    agent = floor.agent().register()
    answer = floor.post(wait=30)
    floor.hub.drain()
    floor.pass_time(9)
    assert answer.said == "waiting"
    floor.pass_time(1)
    assert answer.said == "queued:draining"
    assert agent.wire.closed is not None
    floor.pass_time(5)


def test_a_registration_during_a_drain_is_sent_away() -> None:
    floor = Floor()
    agent = floor.agent()
    other = floor.agent().register("other")
    floor.post(agent="other", wait=30)
    floor.hub.drain()
    agent.register()
    assert agent.wire.closed is not None
    assert agent.wire.closed[0] == 1001
    assert other.wire.closed is None
    floor.pass_time(20)


def test_of_a_crowd_that_registers_at_once_each_turn_takes_some_in_order_and_everyone_has_its_place() -> None:
    floor = Floor()
    agents = [floor.agent() for _ in range(2 * REGISTER_AT_ONCE + 3)]
    for number, agent in enumerate(agents):
        agent.register(f"desk-{number}")
        agent.say("ping", ref="later")
    answers = [[frame["type"] for frame in agent.wire.frames] for agent in agents]
    assert answers == [["registered", "pong"]] * REGISTER_AT_ONCE + [[]] * (REGISTER_AT_ONCE + 3)
    assert [agent.wire.held for agent in agents] == [not answer for answer in answers]
    floor.clock.advance(0)
    answers = [[frame["type"] for frame in agent.wire.frames] for agent in agents]
    assert answers == [["registered", "pong"]] * len(agents)
    assert not any(agent.wire.held for agent in agents)


def test_who_waits_for_its_turn_in_a_crowd_is_not_late_and_may_go() -> None:
    floor = Floor()
    crowd = [floor.agent().register(f"desk-{number}") for number in range(REGISTER_AT_ONCE)]
    late, gone, wrong = (floor.agent().register(name) for name in ("late", "gone", "wrong"))
    gone.crash()
    wrong.conversation.received(b"x" * 10)  # kept: what it is worth is seen when its turn has come
    floor.clock.rightNow += 11
    floor.clock.advance(0)
    assert all(agent.heard("registered") for agent in (*crowd, late, wrong))
    assert not gone.heard("registered")
    assert not any(agent.wire.closed for agent in (*crowd, late, wrong))
    assert floor.now(floor.hub.agents(connected=True, prefix="gone", after="", limit=9)) == []
