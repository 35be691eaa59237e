"""Topics: the newest message of one takes the place of what was not delivered (protocol 2.3 'Topic')."""

from __future__ import annotations

from relay.core.model import End, Past, Put, Status
from tests.hub.support import Answer, Floor


def news(floor: Floor, payload: object = None, topic: str = "news", **fields: object) -> Answer:
    return floor.post(payload, topic=topic, **fields)  # type: ignore[arg-type]  # the submission's own


def ending(floor: Floor, id: str) -> tuple[Status, str]:
    found = floor.find(id)
    assert isinstance(found, Past)
    return found.status, found.reason


def test_the_newest_of_what_is_queued_is_all_that_comes() -> None:
    floor = Floor()
    answers = [news(floor) for _ in range(3)]
    assert [answer.said for answer in answers] == ["queued:away"] * 3
    assert ending(floor, answers[0].id) == (Status.REPLACED, answers[1].id)
    assert ending(floor, answers[1].id) == (Status.REPLACED, answers[2].id)
    agent = floor.agent().register()
    assert agent.heard()[0]["queued"] == 1
    assert agent.wire.frames[-1]["topic"] == "news"
    assert agent.wire.frames[-1]["payload"] == 3


def test_other_topics_other_agents_and_messages_without_a_topic_stay() -> None:
    floor = Floor()
    for topic in ("news", "weather"):
        news(floor, topic, topic=topic)
    floor.post("plain")
    news(floor, "theirs", agent="desk-2")
    news(floor, "newer")
    assert floor.agent().register().messages() == ["weather", "plain", "newer"]
    assert floor.agent().register("desk-2").messages() == ["theirs"]


def test_the_new_message_goes_to_the_end_of_the_order() -> None:
    floor = Floor()
    news(floor, "old")
    floor.post("other")
    news(floor, "new")
    assert floor.agent().register().messages() == ["other", "new"]


def test_what_was_replaced_in_flight_is_not_sent_again_after_a_restart() -> None:
    floor = Floor()
    agent = floor.agent().register()
    older, newer, newest = (news(floor, wait=0) for _ in range(3))
    agent.ack(newest.id)
    floor.restart()
    assert floor.agent().register().messages() == []
    assert ending(floor, older.id) == (Status.REPLACED, newer.id)
    assert ending(floor, newer.id) == (Status.REPLACED, newest.id)


def test_what_was_replaced_in_flight_and_is_acknowledged_after_a_restart_was_delivered() -> None:
    floor = Floor()
    floor.agent().register()
    older, _newer = news(floor, wait=0), news(floor, wait=0)
    floor.restart()
    agent = floor.agent().register()
    agent.ack(older.id)
    assert ending(floor, older.id)[0] is Status.DELIVERED


def test_who_waits_for_the_older_one_is_told_what_took_its_place() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    floor.post(wait=30)
    older = news(floor, wait=30)
    assert older.said == "waiting"
    newer = news(floor, wait=0)
    assert older.said == "replaced"
    assert older.problem is not None
    assert older.problem.status == 409
    assert older.problem.fields["by"] == newer.id
    agent.ack(*agent.ids())
    assert agent.messages() == [3]


def test_one_that_rests_after_a_nack_is_replaced() -> None:
    floor = Floor()
    agent = floor.agent().register()
    older = news(floor)
    agent.say("nack", id=agent.ids()[0], delay=10)
    newer = news(floor, wait=0)
    assert ending(floor, older.id) == (Status.REPLACED, newer.id)
    agent.ack(*agent.ids())
    floor.pass_time(20)
    assert agent.messages() == []


def test_one_in_flight_is_not_called_back_and_delivered_when_it_is_acknowledged() -> None:
    floor = Floor()
    agent = floor.agent().register()
    older, newer = news(floor), news(floor)
    first, second = agent.ids()
    agent.ack(first)
    assert older.said == "delivered"
    agent.ack(second)
    assert newer.said == "delivered"
    assert floor.queued() == []


def test_one_in_flight_is_not_sent_again_but_ends_replaced() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    older = news(floor, wait=0)
    newer = news(floor, wait=0)
    agent.ack(newer.id)
    agent.messages()
    floor.pass_time(11)
    assert agent.messages() == []
    assert ending(floor, older.id) == (Status.REPLACED, newer.id)


def test_one_in_flight_whose_session_ends_is_not_in_the_next_one() -> None:
    floor = Floor()
    agent = floor.agent().register()
    older = news(floor, wait=30)
    newer = news(floor, wait=30)
    agent.leave()
    assert (older.said, newer.said) == ("replaced", "queued:lost")
    assert floor.agent().register().messages() == [2]


def test_a_nack_of_one_that_was_replaced_in_flight_ends_it() -> None:
    floor = Floor()
    agent = floor.agent().register()
    older, newer = news(floor), news(floor, wait=0)
    agent.say("nack", id=agent.ids()[0], delay=1)
    assert older.said == "replaced"
    assert older.problem is not None
    assert older.problem.fields["by"] == newer.id
    floor.pass_time(2)
    assert agent.messages() == []


def test_both_changes_are_one_commit() -> None:
    floor = Floor()
    older = news(floor, "old")
    floor.store.hold()
    newer = news(floor, "new")
    assert floor.queued() == [older.id]
    assert floor.store.held == 1
    floor.store.release()
    assert newer.said == "queued:away"
    assert floor.queued() == [newer.id]


def test_while_the_replacement_is_on_its_way_into_the_store_the_older_one_is_not_sent() -> None:
    floor = Floor()
    news(floor, "old")
    floor.store.hold()
    news(floor, "new")
    agent = floor.agent().register()
    assert agent.messages() == []
    floor.store.release()
    assert agent.messages() == ["new"]


def test_a_replacement_that_cannot_be_kept_replaces_nothing() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=10)
    older = news(floor, "old", wait=0)
    floor.store_fails(Put)
    agent.say("window", max_in_flight=1)
    assert news(floor, "new", wait=0).said == "store-unavailable"
    floor.store.heal()
    agent.messages()
    floor.pass_time(11)
    assert agent.messages() == ["old"]
    agent.ack(older.id)
    assert floor.queued() == []


def test_the_ack_of_one_that_was_replaced_on_the_disk_still_makes_it_delivered() -> None:
    floor = Floor()
    agent = floor.agent().register()
    older = news(floor, wait=0)
    agent.leave()
    news(floor)
    agent = floor.agent().register()
    agent.ack(older.id)
    assert ending(floor, older.id)[0] is Status.DELIVERED


def test_an_older_one_that_is_made_durable_late_does_not_replace_the_newer_one() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    older = news(floor, "old", wait=5)
    newer = news(floor, "new", wait=30)
    floor.pass_time(6)
    assert older.said == "queued:silent"
    agent.messages()
    agent.ack(older.id)
    assert agent.messages() == ["new"]
    agent.ack(newer.id if newer.known else agent.wire.frames[-1]["id"])
    assert newer.said == "delivered"


def test_one_with_a_key_that_the_store_did_not_take_is_the_newer_one_when_it_is_repeated() -> None:
    floor = Floor()
    floor.store_fails(Put)
    assert news(floor, "first", key="k").said == "store-unavailable"
    floor.store.heal()
    floor.pass_time(6)
    other = news(floor, "meanwhile")
    again = news(floor, "first", key="k")
    assert again.said == "queued:away"
    assert ending(floor, other.id) == (Status.REPLACED, again.id)
    assert floor.agent().register().messages() == ["first"]


def test_what_was_acknowledged_is_not_replaced_though_the_store_could_not_record_that() -> None:
    floor = Floor()
    agent = floor.agent().register()
    first = floor.post("old", topic="t", wait=0)
    agent.messages()
    floor.store_fails(End)
    agent.ack(first.id)
    told: list[str] = []
    floor.hub.notices.subscribe(lambda notice: told.append(notice.event) if notice is not None else None)
    floor.post("new", topic="t", wait=2)
    assert "message.replaced" not in told
    floor.store.heal()
    floor.pass_time(2)
    assert floor.look(first.id).status is Status.DELIVERED
    agent.leave()
    agent = floor.agent().register()
    assert [(frame["queued"]) for frame in agent.heard("registered")] == [1]
    agent.ack(*(frame["id"] for frame in agent.wire.frames if frame["type"] == "message"))
    agent.leave()
    assert floor.agent().register().heard("registered")[0]["queued"] == 0


def test_an_ack_of_what_was_replaced_while_that_is_recorded_and_the_queue_is_read_is_counted_once() -> None:
    floor = Floor()
    agent = floor.agent().register(max_in_flight=1)
    first, second = floor.post(topic="t", wait=0), floor.post(topic="t", wait=0)
    floor.store.hold(writes=True, reads=True)
    agent.leave()
    again = floor.agent().register()
    again.ack(first.id)
    again.ack(first.id)
    floor.store.release()
    assert (again.ids(), floor.queued()) == ([second.id], [second.id])
    again.leave()
    last = floor.agent().register()
    assert last.heard("registered")[0]["queued"] == 1
    assert floor.look(first.id).status is Status.DELIVERED
    last.leave()
    assert list(floor.hub._couriers) == []


def test_what_is_in_flight_when_its_session_ends_is_not_replaced_by_a_repeat_that_the_store_knows() -> None:
    floor = Floor()
    asked = news(floor, "old", key="k")
    floor.now(floor.hub.cancel(asked.id))
    agent = floor.agent().register()
    newer = news(floor, "new")
    floor.store.hold()
    repeat = news(floor, "old", key="k")
    agent.leave()  # it is not known yet whether the repeat is a message of its own
    floor.store.release()
    assert newer.said == "queued:lost"
    assert repeat.problem is not None and repeat.problem.word == "ended"
    assert floor.agent().register().messages() == ["new"]


def test_what_is_in_flight_when_its_session_ends_is_not_replaced_by_what_the_store_does_not_take() -> None:
    floor = Floor()
    agent = floor.agent().register()
    older = news(floor, "old", wait=0)
    floor.store.hold()
    newer = news(floor, "new", key="k")
    agent.leave()
    floor.store_fails(Put)
    floor.store.release()
    floor.store.heal()
    assert newer.problem is not None
    assert floor.agent().register().messages() == ["old"]
    assert floor.queued() == [older.id]


def test_what_is_in_flight_when_its_session_ends_is_replaced_as_soon_as_the_newer_one_is_kept() -> None:
    floor = Floor()
    agent = floor.agent().register()
    kept, held = news(floor, "kept", wait=0), news(floor, "held", topic="weather")
    floor.store.hold()
    newer, other = news(floor, "new", key="k"), news(floor, "other", topic="weather", key="l")
    agent.leave()
    assert (held.said, newer.known) == ("queued:lost", False)
    floor.store.release()
    assert ending(floor, kept.id) == (Status.REPLACED, newer.id)
    assert ending(floor, held.id) == (Status.REPLACED, other.id)
    assert floor.agent().register().messages() == ["new", "other"]


def test_who_waits_for_one_whose_session_ends_is_told_what_took_its_place_once_that_is_kept() -> None:
    floor = Floor()
    agent = floor.agent().register()
    older = news(floor, "old")
    floor.store.hold()
    newer = news(floor, "new", key="k")
    agent.leave()
    assert (older.known, newer.known) == (False, False)
    floor.store.release()
    assert older.problem is not None and older.problem.word == "replaced"
    assert newer.said == "queued:lost"
    assert floor.agent().register().messages() == ["new"]


def test_one_that_is_nacked_or_due_while_its_replacement_is_being_written_is_sent_no_more() -> None:
    floor = Floor()
    agent = floor.agent().register(ack_wait=2)
    nacked, due = news(floor, "nacked", wait=0), news(floor, "due", topic="weather", wait=0)
    agent.heard()
    floor.store.hold()
    news(floor, "new", key="k", wait=30)
    news(floor, "other", topic="weather", key="l", wait=30)
    agent.say("nack", id=nacked.id, delay=1)
    floor.pass_time(5)
    assert agent.messages() == []
    floor.store.release()
    floor.pass_time(10)
    assert agent.messages()[:2] == ["new", "other"]
    assert ending(floor, nacked.id)[0] is Status.REPLACED
    assert ending(floor, due.id)[0] is Status.REPLACED


def test_one_that_rested_on_the_disk_and_is_in_flight_again_is_not_called_back() -> None:
    floor = Floor()
    agent = floor.agent().register()
    older = news(floor, "old", wait=0)
    agent.say("nack", id=older.id, delay=5)
    agent.leave()
    again = floor.agent().register()
    floor.pass_time(6)
    assert again.messages() == ["old"]
    news(floor, "new", wait=0)
    assert floor.look(older.id).status is Status.SENT
    again.ack(older.id)
    assert ending(floor, older.id) == (Status.DELIVERED, "")


def test_an_older_one_that_is_saved_late_replaces_none_that_is_newer() -> None:
    floor = Floor()
    agent = floor.agent().register()
    floor.post("older", topic="t", wait=5)
    newer = floor.post("newer", topic="t", wait=5)
    floor.store.hold()
    floor.pass_time(5)  # nobody acknowledged: both are in flight while the older one is being saved
    agent.leave()
    floor.store.release()
    assert floor.queued() == [newer.id]
    again = floor.agent().register()
    assert again.messages() == ["newer"]
