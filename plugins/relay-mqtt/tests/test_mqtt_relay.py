"""A whole relay beside a real Mosquitto, while either is stopped, killed and started again, or the line breaks."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import Agent, acknowledge
from tests.e2e.door import post
from tests.e2e.support import ROOT, Daemon
from tests.e2e.test_callbacks import pem
from tests.servers.leaky_line import LeakyLine
from tests.servers.mosquitto import PASSWORD, USER, Mosquitto
from tests.servers.mqtt_device import Device

pytestmark = [pytest.mark.e2e, pytest.mark.faults]

FOLDER = Path(__file__).parent.parent
PATIENCE = 30.0
Start = Callable[..., Daemon]


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    broker = Mosquitto()
    try:
        yield broker.start()
    finally:
        broker.remove()


@pytest.fixture
def start(broker: Mosquitto, tmp_path: Path) -> Iterator[Start]:
    """Makes a relay that finds the plugin as it lies here, and has reached the broker."""
    relays: list[Daemon] = []

    def start(**settings: Any) -> Daemon:
        table = {"url": broker.url, **settings}
        environment = {f"RELAY_EXTENSIONS_MQTT_{key.upper()}": str(value) for key, value in table.items()}
        relays.append(Daemon(tmp_path, environment={"PYTHONPATH": f"{ROOT}:{FOLDER}", **environment}))
        return reached(relays[-1].start())

    try:
        yield start
    finally:
        for relay in relays:
            relay.stop()
    assert not [line for relay in relays for line in relay.complaints()]


def reached(relay: Daemon, times: int = 1) -> Daemon:
    """Wait until it has reached the broker so often since it was started."""
    relay.output.wait_for_count("MQTT broker .* is reached", times, PATIENCE)
    return relay


def lines(relay: Daemon, text: str) -> list[str]:
    return [line for line in list(relay.output.lines) if text in line]


def test_what_is_published_reaches_the_agent_and_what_it_sends_goes_out(start: Start, broker: Mosquitto) -> None:
    relay = start()
    with Device(broker) as device, Agent(relay.port, "desk-1", acknowledge) as desk:
        device.publish(
            "relay/to/desk-1/lamp/set",
            '{"on": 1.0}',
            ContentType="application/json",
            UserProperty=[("Room", "kitchen"), ("bad name", "x")],
            ResponseTopic="relay/from/desk-1/lamp",
            CorrelationData=b"\x00\x01",
            MessageExpiryInterval=60,
        )
        assert desk.next()["headers"] == {
            "room": "kitchen",
            "mqtt-topic": "lamp/set",
            "mqtt-response-topic": "relay/from/desk-1/lamp",
            "mqtt-correlation": "AAE=",
        }
        assert desk.slices == [b'{"on": 1.0}']
        asked = {"Mqtt-From": "desk-1", "Mqtt-Topic": "lamp", "Mqtt-Correlation": "AAE=", "Note": "done"}
        headers = {f"Relay-Meta-{name}": value for name, value in asked.items()}
        answer = post(relay.port, "mqtt", '"it is on"', headers=headers)
        assert answer.outcome == "delivered"
        heard = device.next()
        assert (heard.topic, heard.payload, heard.retain) == ("relay/from/desk-1/lamp", b'"it is on"', False)
        properties: Any = heard.properties
        assert properties.CorrelationData == b"\x00\x01"
        assert properties.ContentType == "application/json"
        assert properties.UserProperty == [("note", "done"), ("relay-id", answer.json["id"])]
        assert 604_700 < properties.MessageExpiryInterval <= 604_800
    assert relay.terminate() == 0


def test_a_device_may_speak_another_version_and_what_has_a_bad_name_is_refused_with_one_line(
    start: Start, broker: Mosquitto
) -> None:
    relay = start(content_type="text/plain")
    with Device(broker, version=3) as device, Agent(relay.port, "desk-1", acknowledge) as desk:
        for topic in ("relay/to/no agent", "relay/to", "relay/to/mqtt", "relay/to/dés"):
            device.publish(topic, "lost")
        device.publish("relay/to/desk-1", b"")
        device.publish("relay/to/desk-1", "on", qos=0)
        device.publish("relay/to/desk-1", "off", qos=2)
        assert [message["payload"] for message in desk.take(2)] == ["on", "off"]
        assert post(relay.port, "mqtt", '"x"').problem == "rejected"  # nobody says who sent it
        device.nothing_more()
    assert len(lines(relay, "was refused")) == 1


def test_the_broker_keeps_what_comes_while_the_relay_is_away(start: Start, broker: Mosquitto) -> None:
    relay = start()
    assert relay.terminate() == 0
    with Device(broker) as device:
        for number in range(300):  # three times as many as may be under way
            device.publish("relay/to/desk-1", str(number))
    broker.stop()
    broker.start()
    reached(relay.start())
    with Agent(relay.port, "desk-1", acknowledge) as desk:
        assert [message["payload"] for message in desk.take(300)] == list(range(300))
        desk.nothing_more()


def test_nothing_is_lost_while_the_relay_is_killed_again_and_again(start: Start, broker: Mosquitto) -> None:
    relay = start()
    with Device(broker) as device:
        for number in range(300):
            device.publish("relay/to/desk-1", str(number))
            if number % 100 == 50:
                relay.kill()
                reached(relay.start())
    with Agent(relay.port, "desk-1", acknowledge) as desk:
        got = [desk.next()["payload"]]
        while got[-1] != 299:
            got.append(desk.next()["payload"])
    assert set(got) == set(range(300))
    assert list(dict.fromkeys(got)) == list(range(300))


def test_what_is_sent_while_the_broker_is_away_goes_out_when_it_is_back(start: Start, broker: Mosquitto) -> None:
    relay = start()
    me = {"Relay-Meta-Mqtt-From": "desk-1"}
    broker.stop()
    relay.output.wait_for("MQTT broker .* is lost", PATIENCE)
    sent = [post(relay.port, "mqtt", str(number), headers=me) for number in range(20)]
    assert {answer.outcome for answer in sent} == {"queued: away"}
    with Agent(relay.port, "witness", acknowledge):
        assert post(relay.port, "witness", "1").outcome == "delivered"  # others do not notice
    broker.start()
    with Device(broker) as device:
        heard = [device.next() for _ in range(20)]
        assert [int(message.payload) for message in heard] == list(range(20))
        reached(relay, 2)
        assert post(relay.port, "mqtt", "20", headers=me).outcome == "delivered"
    assert len(lines(relay, "is not reached")) <= 1


def test_a_lost_acknowledgement_brings_a_message_twice_but_not_one_with_a_key(
    start: Start, broker: Mosquitto, tmp_path: Path
) -> None:
    line = LeakyLine(broker.socket, tmp_path / "line")
    try:
        relay = start(url=f"mqtt+unix://{tmp_path}/line")
        with Device(broker) as device, Agent(relay.port, "desk-1", acknowledge) as desk:
            line.swallow(True)
            device.publish("relay/to/desk-1", '"plain"')
            device.publish("relay/to/desk-1", '"keyed"', UserProperty=[("Idempotency-Key", "k-1")])
            assert [message["payload"] for message in desk.take(2)] == ["plain", "keyed"]
            assert line.swallowed.wait(PATIENCE)
            line.cut()
            line.swallow(False)
            reached(relay, 2)
            assert desk.next()["payload"] == "plain"
            device.publish("relay/to/desk-1", '"last"')
            assert desk.next()["payload"] == "last"
    finally:
        line.close()


def test_what_the_broker_has_not_acknowledged_goes_out_again_under_its_id(
    start: Start, broker: Mosquitto, tmp_path: Path
) -> None:
    line = LeakyLine(broker.socket, tmp_path / "line")
    try:
        relay = start(url=f"mqtt+unix://{tmp_path}/line")
        with Device(broker) as device:
            line.swallow(True)
            answer = post(relay.port, "mqtt", '"x"', wait=0, headers={"Relay-Meta-Mqtt-From": "desk-1"})
            assert answer.outcome == "queued: sent"
            assert line.swallowed.wait(PATIENCE)
            line.cut()
            line.swallow(False)
            heard: Any = device.next()
            assert ("relay-id", answer.json["id"]) in heard.properties.UserProperty
            device.nothing_more()
    finally:
        line.close()


def test_it_says_who_it_is_and_looks_at_whom_it_speaks_to(tmp_path: Path, start: Start, broker: Mosquitto) -> None:
    certificate, password = tmp_path / "broker.pem", tmp_path / "password"
    certificate.write_bytes(pem())
    password.write_text("wrong\n")
    guarded = Mosquitto(certificate=certificate).start()
    try:
        about = {"user": USER, "password_file": password}
        for url, why in ((f"mqtts://127.0.0.1:{guarded.port}", "certificate verify failed"), ("", "Not authorized")):
            relay = Daemon(tmp_path)
            settings = {**about, "ca_file": certificate, "url": url or f"mqtts://localhost:{guarded.port}"}
            relay.environment = {
                "PYTHONPATH": f"{ROOT}:{FOLDER}",
                **{f"RELAY_EXTENSIONS_MQTT_{key.upper()}": str(value) for key, value in settings.items()},
            }
            with relay.start():
                relay.output.wait_for(f"is not reached: .*{why}", PATIENCE)
                if not url:
                    password.write_text(PASSWORD + "\n")
                    reached(relay)
                    with Device(guarded) as device, Agent(relay.port, "desk-1", acknowledge) as desk:
                        device.publish("relay/to/desk-1", b'"' + b"x" * 200_000 + b'"')
                        assert len(desk.next()["payload"]) == 200_000
                assert relay.terminate() == 0
            assert relay.complaints() == []
            assert PASSWORD not in relay.past
    finally:
        guarded.remove()


def test_what_the_brokers_access_list_forbids_is_rejected(tmp_path: Path, start: Start, broker: Mosquitto) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic read relay/#\ntopic write relay/to/#\n")
    broker.stop()
    broker.conf = f"acl_file {rights}"
    broker.start()
    relay = start()
    headers = {"Relay-Meta-Mqtt-From": "desk-1"}
    answer = post(relay.port, "mqtt", '"x"', headers=headers)
    assert (answer.problem, answer.json["detail"]) == ("rejected", "the MQTT broker refuses it: Not authorized")


def test_a_broker_that_does_not_speak_keeps_the_relay_neither_from_starting_nor_from_stopping(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel takes the connection, and nobody says a word
        relay = Daemon(tmp_path)
        relay.environment = {
            "PYTHONPATH": f"{ROOT}:{FOLDER}",
            "RELAY_EXTENSIONS_MQTT_URL": f"mqtts://127.0.0.1:{silent.getsockname()[1]}",
            "RELAY_EXTENSIONS_MQTT_CONNECT_SECONDS": "60",
        }
        with relay.start():
            assert post(relay.port, "desk-1", "1").outcome == "queued: away"
            assert relay.terminate() == 0  # well before the minute is over
    assert relay.complaints() == []


def test_what_was_retained_comes_once_where_that_is_wanted(start: Start, broker: Mosquitto) -> None:
    with Device(broker) as device:
        device.publish("relay/to/desk-1", '"before"', retain=True)
        relay = start(take_retained="true", retain="true")
        with Agent(relay.port, "desk-1", acknowledge) as desk:
            message = desk.next()
            assert (message["payload"], message["headers"]) == ("before", {"mqtt-retained": "true"})
            assert relay.terminate() == 0
        reached(relay.start())
        with Agent(relay.port, "desk-1", acknowledge) as desk:
            device.publish("relay/to/desk-1", '"after"')
            assert desk.next()["payload"] == "after"
        headers = {"Relay-Meta-Mqtt-From": "desk-1"}
        assert post(relay.port, "mqtt", '"kept"', headers=headers).outcome == "delivered"
    with Device(broker) as late:
        heard = late.next()
        assert (heard.payload, heard.retain) == (b'"kept"', True)
