"""The configured plugins: read, made and joined, or refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from relay.core.access import Grant, TokenRefused, TokensUnavailable
from relay.extensions import (
    IAuthenticatorPlugin,
    IMessageFilterPlugin,
    IMessageStorePlugin,
    SettingsError,
)
from relay.extensions.settings import NotUsable
from relay.store.memory import MemoryStore
from tests.extensions.support import Outside, plugin


def refused(call: Any) -> str:
    with pytest.raises(NotUsable) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_plugin_is_made_with_its_settings() -> None:
    store = MemoryStore()
    mine = plugin(IMessageStorePlugin, store=store)
    outside = Outside([mine], tables={"test": {"word": "abc"}})
    assert outside.roster.store("test:place") is store
    assert mine.made_with == [("test:place", {"word": "abc"})]


def test_a_store_needs_no_table_of_its_own() -> None:
    store = MemoryStore()
    assert Outside([plugin(IMessageStorePlugin, store=store)], tables={}).roster.store("test:") is store


@pytest.mark.parametrize("url", ["pigeon:loft", "test", ""])
def test_a_store_that_nobody_opens_is_answered_with_those_that_are_there(url: str) -> None:
    outside = Outside([plugin(IMessageStorePlugin, store=None)])
    assert refused(lambda: outside.roster.store(url)) == f"store {url!r}: unknown kind of store; installed are test:"


def test_every_error_of_settings_names_the_key() -> None:
    mine = plugin(IMessageFilterPlugin)
    said = refused(lambda: Outside([mine], tables={"test": {"word": "A B"}}))
    assert said == "extensions.test.word: 'A B' is not allowed; allowed: a word"
    said = refused(lambda: Outside([mine], tables={"test": {"wrod": "a"}}))
    assert said == "extensions.test.wrod: 'a' is not allowed; allowed: did you mean word?"
    assert "extensions.other: no plugin of that name" in refused(lambda: Outside([mine], tables={"other": {}}))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (SettingsError("url", None, "a URL"), "extensions.test.url: what stands there"),
        (RuntimeError("ouch"), "extensions.test: filter failed: RuntimeError: ouch"),
        (None, "extensions.test: filter made nothing"),
        (object(), "extensions.test: its filter has neither ingest nor before_send"),
    ],
)
def test_a_plugin_that_cannot_be_made_ends_the_start(made: object, said: str) -> None:
    outside = Outside([plugin(IMessageFilterPlugin, filter=made)])
    assert refused(outside.roster.filters).startswith(said)


def test_without_filters_there_is_nothing_to_ask() -> None:
    assert Outside([plugin(IMessageStorePlugin)]).roster.filters() is None


# -- who somebody is


class Provider:
    """Says what it was told to say."""

    source = "mine"

    def __init__(self, said: Any) -> None:
        self.said = said

    def known(self, token: str) -> Any:
        if isinstance(self.said, Exception):
            raise self.said
        return self.said

    check = still = known

    def on_change(self, call: Any) -> None:
        call()


def asked(said: Any) -> tuple[Any, Any, Any, int]:
    """What ``known``, ``check`` and ``still`` of a plugin come to, and how often it failed."""
    outside = Outside([plugin(IAuthenticatorPlugin, provider=Provider(said))])
    [provider] = outside.roster.providers()
    answers: list[Any] = []
    check: Any = provider.check("t")
    check.addCallbacks(answers.append, lambda failure: answers.append(failure.type))
    return (
        provider.known("t"),
        answers[0],
        provider.still(Grant("a", source="mine")),
        outside.tally.of("test").get("failures", 0),
    )


def test_a_plugins_grants_are_taken() -> None:
    grant = Grant("anna", source="mine")
    assert asked(grant) == (grant, grant, grant, 0)


@pytest.mark.parametrize("said", [Grant("anna", source="another"), "anna", 5, ValueError("no")])
def test_rubbish_and_failures_let_nobody_in(said: Any) -> None:
    assert asked(said) == (None, TokensUnavailable, None, 3)


def test_a_refusal_is_no_failure() -> None:
    known, checked, still, failures = asked(TokenRefused("no"))
    assert (known, checked, still) == (None, TokenRefused, None)
    assert failures == 2  # ``known`` and ``still`` say None for that
