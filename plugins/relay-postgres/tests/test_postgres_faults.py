"""What becomes of the store when the server is killed, stopped, frozen, or somebody else's; on a real server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from conftest import postgres_store
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from relay.core.model import Depth, End, Kept, Put, Seen, Standing, Status, Write
from relay.core.ports import StoreBroken, StoreRefused, StoreUnavailable
from relay_postgres import opening, writer
from relay_postgres.link import SETTINGS, Link
from relay_postgres.server import Server
from relay_postgres.store import PostgresStore
from tests.contract.support import put, queue
from tests.servers.postgres import PASSWORD, PostgresServer
from tests.store.support import EVERYTHING, NOW, ids, record

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("RELAY_PG_KILLS", "2"))


def real_time() -> Any:
    from twisted.internet import reactor

    return reactor


async def outcomes(writes: list[Deferred[Any]]) -> list[Any]:
    """What came of each: its answer, or its exception."""
    results: list[Any] = await DeferredList(writes, consumeErrors=True)
    return [result if good else result.value for good, result in results]


async def outcome(store: PostgresStore, op: Write) -> Any:
    [answer] = await outcomes([store.write(op)])
    return answer


async def once(met: Callable[[], object]) -> None:
    """Until something outside is so."""

    def wait() -> None:
        end = time.monotonic() + 60
        while not met():
            assert time.monotonic() < end, "it did not come to that"
            time.sleep(0.02)  # nobody tells us

    await deferToThread(wait)


def grown(some: set[str], most: int) -> bool:
    return len(some) >= most


def waiting(postgres: PostgresServer, event: str) -> list[int]:
    """The sessions that wait for such a thing."""
    return [pid for (pid,) in postgres.ask("SELECT pid FROM pg_stat_activity WHERE wait_event = %s", (event,))]


def cut(postgres: PostgresServer) -> None:
    """End every session but our own."""
    postgres.ask(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )


# -- the server goes


@pytest_twisted.ensureDeferred
async def test_of_what_was_answered_nothing_is_lost_when_the_server_is_killed_in_mid_load(
    postgres: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ASK_AGAIN", (0.0, *[0.2] * 300))
    store = postgres_store(postgres, schema, clock=real_time())
    await store.open()
    places = iter(range(1, 1_000_000))
    kept: set[str] = set()
    ended: set[str] = set()
    failed: set[str] = set()
    going = True

    async def load() -> None:
        while going:
            id = f"m{(place := next(places))}"
            try:
                await store.write(Put(record(place)))
                kept.add(id)
                if place % 2:
                    assert await store.write(End("desk", id, Status.DELIVERED, at=NOW)) == Depth(
                        1, len(f"payload {place}")
                    )
                    ended.add(id)
            except StoreUnavailable:
                failed.add(id)
                pause: Deferred[None] = Deferred()
                real_time().callLater(0.05, pause.callback, None)
                await pause

    try:
        for _ in range(KILLS):
            going, before = True, len(kept)
            load_is_over = DeferredList([Deferred.fromCoroutine(load()) for _ in range(100)], fireOnOneErrback=True)
            await once(partial(grown, kept, before + 500))
            await deferToThread(postgres.kill)
            await deferToThread(postgres.start)
            await once(partial(grown, ended, len(ended) + 1))
            going = False
            await load_is_over
        queued = set(ids(await store.page("desk", **(EVERYTHING | {"limit": 1_000_000}))))
        assert kept - ended - failed <= queued
        assert not queued & ended
        # What was said to have failed was not made: its commit was looked up.
        assert not (failed - kept) & queued
        assert {type(await store.find(id)).__name__ for id in list(ended)[:200]} == {"Past"}
    finally:
        await store.close()
    again = postgres_store(postgres, schema)
    snapshot = await again.open()
    assert snapshot.depths["desk"].count == len(queued)
    await again.close()


@pytest_twisted.ensureDeferred
async def test_a_server_that_was_started_anew_between_two_commits_is_not_noticed(
    postgres: PostgresServer, schema: str
) -> None:
    store = postgres_store(postgres, schema)
    await store.open()
    await put(store, record(1))
    assert await queue(store) == ["m1"]
    cut(postgres)
    await put(store, record(2))
    cut(postgres)
    assert await queue(store) == ["m1", "m2"]
    await store.close()


@pytest_twisted.ensureDeferred
async def test_while_the_server_is_away_everything_fails_at_once_and_then_goes_on(
    postgres: PostgresServer, schema: str
) -> None:
    clock = Clock()
    store = postgres_store(postgres, schema, clock=clock)
    await store.open()
    await put(store, record(1))
    postgres.stop()
    try:
        for _ in range(3):
            assert isinstance(await outcome(store, Put(record(2))), StoreUnavailable)
            with pytest.raises(StoreUnavailable):
                await store.page("desk", **EVERYTHING)
    finally:
        postgres.start()
    # It is not asked again before its time: each attempt may take seconds, and others wait behind it.
    assert isinstance(await outcome(store, Put(record(2))), StoreUnavailable)
    clock.advance(5)
    assert await outcome(store, Put(record(2))) == Kept()
    assert await queue(store) == ["m1", "m2"]
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_server_that_answers_nothing_is_given_up(postgres: PostgresServer, schema: str) -> None:
    clock = Clock()
    store = postgres_store(postgres, schema, clock=clock, answer_seconds=30, connect_seconds=2)
    await store.open()
    await put(store, record(1))
    postgres.freeze(True)
    try:
        write, read = store.write(Put(record(2))), store.page("desk", **EVERYTHING)
        await once(lambda: all(link._since is not None for link in store._chores._links))
        clock.advance(10)
        assert not write.called and not read.called
        for _ in range(2):
            clock.advance(10)
        assert [type(each) for each in await outcomes([write, read])] == [StoreUnavailable, StoreUnavailable]
    finally:
        postgres.freeze(False)
    clock.advance(10)
    assert await outcome(store, Put(record(3))) == Kept()
    await store.close()


# -- a commit whose answer is lost


@pytest_twisted.ensureDeferred
async def test_a_commit_that_was_made_but_not_answered_is_answered_after_all(
    postgres: PostgresServer, schema: str
) -> None:
    store = postgres_store(postgres, schema)
    await store.open()
    # The server has committed, and waits for a second one that is not there.
    postgres.ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    postgres.ask("SELECT pg_reload_conf()")
    await once(
        lambda: postgres.ask("SELECT 1 FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting <> ''")
    )
    try:
        write = store.write(Put(record(1)))
        await once(lambda: waiting(postgres, "SyncRep"))
        cut(postgres)
        assert await write == Kept()
    finally:
        postgres.ask("ALTER SYSTEM RESET synchronous_standby_names")
        postgres.ask("SELECT pg_reload_conf()")
    assert await queue(store) == ["m1"]
    await store.close()


def dies_at_commit(postgres: PostgresServer, schema: str, times: int) -> None:
    """Let the session that commits a message die of it, so often."""
    postgres.ask(
        f"CREATE SEQUENCE {schema}_deaths;"
        f"CREATE FUNCTION {schema}_die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('public.{schema}_deaths') <= {times} THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
        " RETURN NULL; END $$;"
        f"CREATE CONSTRAINT TRIGGER dying AFTER INSERT ON {schema}.messages DEFERRABLE INITIALLY DEFERRED"
        f" FOR EACH ROW EXECUTE FUNCTION {schema}_die()"
    )


@pytest_twisted.ensureDeferred
async def test_a_commit_that_was_not_made_is_made_again(postgres: PostgresServer, schema: str) -> None:
    store = postgres_store(postgres, schema)
    await store.open()
    dies_at_commit(postgres, schema, 1)
    assert await outcome(store, Put(record(1))) == Kept()
    assert await queue(store) == ["m1"]
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_commit_that_fails_twice_has_failed(postgres: PostgresServer, schema: str) -> None:
    store = postgres_store(postgres, schema)
    await store.open()
    dies_at_commit(postgres, schema, 2)
    assert isinstance(await outcome(store, Put(record(1))), StoreUnavailable)
    assert await store.find("m1") is None
    assert await outcome(store, Put(record(2))) == Kept()
    await store.close()


@pytest_twisted.ensureDeferred
async def test_what_was_said_to_have_failed_and_was_made_breaks_the_store(
    postgres: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ASK_AGAIN", ())
    store = postgres_store(postgres, schema)
    broken: list[StoreBroken] = []
    store.on_broken(broken.append)
    await store.open()
    postgres.ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    postgres.ask("SELECT pg_reload_conf()")
    await once(
        lambda: postgres.ask("SELECT 1 FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting <> ''")
    )
    try:
        write = store.write(Put(record(1)))
        await once(lambda: waiting(postgres, "SyncRep"))
        cut(postgres)
        assert [type(each) for each in await outcomes([write])] == [StoreUnavailable]
    finally:
        postgres.ask("ALTER SYSTEM RESET synchronous_standby_names")
        postgres.ask("SELECT pg_reload_conf()")
    assert isinstance(await outcome(store, Seen("desk", NOW)), StoreBroken)
    assert [type(each) for each in broken] == [StoreBroken]
    await store.close()
    again = postgres_store(postgres, schema)
    assert (await again.open()).depths == {"desk": Depth(1, 9)}
    await again.close()


# -- who else is there


@pytest_twisted.ensureDeferred
async def test_a_second_relay_is_refused_and_told_who_is_there(
    postgres: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "lock_timeout", "50ms")
    store = postgres_store(postgres, schema)
    await store.open()
    assert "another relay uses this store" in (text := await refusal(postgres_store(postgres, schema)))
    assert f"schema {schema}" in text and "session " in text
    await store.close()
    again = postgres_store(postgres, schema)
    await again.open()
    await again.close()


@pytest_twisted.ensureDeferred
async def test_relays_with_schemas_of_their_own_share_a_database(postgres: PostgresServer, schema: str) -> None:
    one, other = postgres_store(postgres, schema), postgres_store(postgres, f"{schema}-b")
    await one.open()
    await other.open()
    await put(one, record(1))
    assert (await queue(one), await queue(other)) == (["m1"], [])
    await one.close()
    await other.close()


@pytest.mark.parametrize("there", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_store_that_another_relay_has_used_meanwhile_is_broken(
    postgres: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setitem(SETTINGS, "lock_timeout", "50ms")
    store = postgres_store(postgres, schema)
    broken: list[StoreBroken] = []
    store.on_broken(broken.append)
    await store.open()
    cut(postgres)
    other = postgres_store(postgres, schema)
    await other.open()
    if not there:
        await other.close()
    assert isinstance(await outcome(store, Put(record(1))), StoreBroken)
    assert "another relay" in str(broken[0])
    with pytest.raises(StoreBroken):
        await store.page("desk", **EVERYTHING)
    await store.close()
    await other.close()


@pytest_twisted.ensureDeferred
async def test_what_another_relay_made_of_the_store_is_not_read(postgres: PostgresServer, schema: str) -> None:
    store = postgres_store(postgres, schema)
    await store.open()
    await put(store, record(1))
    cut(postgres)
    other = postgres_store(postgres, schema)
    await other.open()
    with pytest.raises(StoreBroken):
        await store.page("desk", **EVERYTHING)
    await store.close()
    await other.close()


# -- what is not as it should be


@pytest_twisted.ensureDeferred
async def test_a_row_that_is_not_what_was_put_is_told_and_not_sent(postgres: PostgresServer, schema: str) -> None:
    store = postgres_store(postgres, schema)
    await store.open()
    await put(store, *(record(place) for place in range(1, 5)))
    postgres.ask(f"UPDATE {schema}.messages SET payload = 'payload x' WHERE id = 'm2'")
    postgres.ask(f"UPDATE {schema}.messages SET content_type = 'text/html' WHERE id = 'm3'")
    page = await store.page("desk", after=0, before=99, now=NOW, limit=10, max_bytes=27)
    assert (ids(page), page.corrupt, page.last, page.more) == (["m1"], ("m2", "m3"), 3, True)
    assert ids(await store.page("desk", after=3, before=99, now=NOW, limit=10, max_bytes=27)) == ["m4"]
    assert (await store.load("desk", ["m2", "m4"])).corrupt == ("m2",)
    await store.write(End("desk", "m2", Status.DEAD, "corrupt", NOW))
    letter = await store.letter("m2")
    assert letter is not None and letter.past.reason == "corrupt"
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_change_that_the_server_cannot_take_fails_alone(postgres: PostgresServer, schema: str) -> None:
    store = postgres_store(postgres, schema)
    await store.open()
    await put(store, record(1))
    writes = [store.write(Put(record(place, agent="de\0sk" if place == 5 else "desk"))) for place in range(2, 9)]
    # This one is found out by the server, and behind others in the same message to it.
    writes.append(store.write(Put(record(1, id="m9"))))
    answers = await outcomes(writes)
    assert [type(each) for each in answers] == [*[Kept] * 3, StoreUnavailable, *[Kept] * 3, StoreUnavailable]
    assert await queue(store) == ["m1", "m2", "m3", "m4", "m6", "m7", "m8"]
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_reason_of_any_characters_is_kept(postgres: PostgresServer, schema: str) -> None:
    store = postgres_store(postgres, schema)
    await store.open()
    await put(store, record(1))
    await store.write(End("desk", "m1", Status.REJECTED, 'a\0b "ů" 🙂', NOW))
    [letter] = await store.letters("", 9)
    assert letter.past.reason == 'a\u2400b "ů" 🙂'
    await store.close()


# -- opening


def test_a_session_that_a_pooler_may_share_is_refused(postgres: PostgresServer) -> None:
    """Its number is another one than that which was told at the start."""
    info = SimpleNamespace(server_version=150000, backend_pid=7)
    rows = SimpleNamespace(fetchall=lambda: [(True, True, False, 8)])
    connection: Any = SimpleNamespace(info=info, execute=lambda sql: rows)
    with pytest.raises(StoreRefused, match="directly"):
        opening.check(connection, postgres.server("relay"))


async def refusal(store: PostgresStore) -> str:
    """The line that says why the store cannot be opened."""
    with pytest.raises(StoreRefused) as refused:
        await store.open()
    await store.close()
    text = str(refused.value)
    assert "\n" not in text
    assert PASSWORD not in text
    return text


@pytest_twisted.ensureDeferred
async def test_what_is_not_a_store_of_a_known_version_is_left_alone(postgres: PostgresServer, schema: str) -> None:
    postgres.ask(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.theirs (x integer)")
    assert "belongs to another program" in await refusal(postgres_store(postgres, schema))
    postgres.ask(f"DROP TABLE {schema}.theirs; CREATE TABLE {schema}.store (x integer)")
    assert "belongs to another program" in await refusal(postgres_store(postgres, schema))
    postgres.ask(f"DROP SCHEMA {schema} CASCADE")
    store = postgres_store(postgres, schema)
    await store.open()
    await put(store, record(1))
    await store.close()
    postgres.ask(f"UPDATE {schema}.store SET version = 99")
    assert "made by a newer relay-postgres" in await refusal(postgres_store(postgres, schema))
    postgres.ask(f"DELETE FROM {schema}.store")
    assert "does not say of which version" in await refusal(postgres_store(postgres, schema))


@pytest_twisted.ensureDeferred
async def test_a_store_of_an_older_version_is_brought_up_to_date_and_keeps_what_it_has(
    postgres: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = postgres_store(postgres, schema)
    before = await store.open()
    await put(store, record(1))
    await store.close()
    scripts = [*opening.scripts(), "ALTER TABLE messages ADD COLUMN more text; CREATE TABLE others (x integer)"]
    monkeypatch.setattr(opening, "scripts", lambda: [*scripts, "SELECT nonsense"])
    assert "nonsense" in await refusal(postgres_store(postgres, schema))
    monkeypatch.setattr(opening, "scripts", lambda: scripts)
    for _ in range(2):
        again = postgres_store(postgres, schema)
        assert (await again.open()).secret == before.secret
        assert await queue(again) == ["m1"]
        await again.close()
    assert postgres.ask(f"SELECT version, opened FROM {schema}.store") == [(2, 3)]


@pytest_twisted.ensureDeferred
async def test_a_server_on_which_nothing_would_be_durable_is_refused(postgres: PostgresServer, schema: str) -> None:
    postgres.ask("ALTER SYSTEM SET fsync = off")
    postgres.ask("SELECT pg_reload_conf()")
    try:
        await once(lambda: postgres.ask("SELECT 1 FROM pg_settings WHERE name = 'fsync' AND setting = 'off'"))
        assert "fsync is off" in await refusal(postgres_store(postgres, schema))
    finally:
        postgres.ask("ALTER SYSTEM RESET fsync")
        postgres.ask("SELECT pg_reload_conf()")
    await once(lambda: postgres.ask("SELECT 1 FROM pg_settings WHERE name = 'fsync' AND setting = 'on'"))


@pytest.mark.parametrize(("asked", "kept"), [("off", b"on"), ("local", b"on"), ("remote_apply", b"remote_apply")])
def test_a_commit_is_on_the_disk_whatever_the_default_is(postgres: PostgresServer, asked: str, kept: bytes) -> None:
    parameters = postgres.parameters | {"options": f"-c synchronous_commit={asked}"}
    link = Link(Server(parameters), "trying", time.monotonic, lambda connection: None)
    with link.use() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchall() == [(kept,)]
    link.close()


@pytest_twisted.ensureDeferred
async def test_a_database_of_another_encoding_and_a_wrong_password_are_refused(
    postgres: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.ask("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    parameters = postgres.parameters
    monkeypatch.setattr(PostgresServer, "parameters", parameters | {"dbname": "latin"})
    assert "must be UTF8" in await refusal(postgres_store(postgres, schema))
    monkeypatch.setattr(PostgresServer, "parameters", parameters | {"password": "wrong"})
    assert "password authentication failed" in await refusal(postgres_store(postgres, schema))
    monkeypatch.setattr(PostgresServer, "parameters", parameters | {"host": "/nowhere"})
    assert "/nowhere" in await refusal(postgres_store(postgres, schema))


@pytest_twisted.ensureDeferred
async def test_the_password_is_told_to_nobody(postgres: PostgresServer, schema: str) -> None:
    told: list[str] = []

    def hear(event: LogEvent) -> None:
        told.append(f"{formatEvent(event)} {event!r}")

    globalLogPublisher.addObserver(hear)
    try:
        clock = Clock()
        store = postgres_store(postgres, schema, clock=clock)
        await store.open()
        postgres.stop()
        try:
            error = await outcome(store, Put(record(1)))
            assert isinstance(error, StoreUnavailable)
        finally:
            postgres.start()
        clock.advance(9)
        assert await outcome(store, Put(record(1))) == Kept()
        assert isinstance(await store.find("m1"), Standing)
        await store.close()
    finally:
        globalLogPublisher.removeObserver(hear)
    assert any("is not reached" in line for line in told) and any("is reached again" in line for line in told)
    assert not any(PASSWORD in line for line in (*told, str(error), repr(store._server)))
