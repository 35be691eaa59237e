"""What an idle agent need not keep: most of what Autobahn notes of a connection is never asked for again.

Autobahn sets some fifty attributes on every connection, nearly all to the same values, and keeps the handshake. Here
the values stand once, on the class, and what only the handshake needed goes when it is over.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator

if TYPE_CHECKING:
    from relay.edge.websocket import AgentProtocol


class Unheard:
    """The end of a connection, as a Deferred that nobody waits for."""

    def callback(self, result: object) -> None:
        pass


#: Of the handshake, or for nobody: these go whatever they are.
OVER: Final[dict[str, Any]] = {
    "_results": {},
    "_transport_details": None,
    "_valid_events": (),
    "_wskey": "",
    "http_headers": None,
    "http_request_data": None,
    "http_request_host": None,
    "http_request_params": None,
    "http_request_path": None,
    "http_request_uri": None,
    "http_response_data": None,
    "http_status_line": None,
    "is_closed": Unheard(),
    "is_open": Unheard(),
    "peer": None,
    "send_queue": deque(maxlen=0),
    "token": None,
    "trafficStats": TrafficStats(),  # one for all: it only counts
    "utf8validator": cached_property(lambda _: Utf8Validator()),
    "websocket_extensions": (),
    "websocket_extensions_in_use": (),
    "websocket_origin": "",
    "websocket_protocol_in_use": None,
    "websocket_protocols": (),
}
#: These go where they are what they are at first, and nearly always will be.
USUAL: Final[dict[str, Any]] = {
    "_perMessageCompress": None,
    "autoPingPending": None,
    "autoPingPendingCall": None,
    "autoPingPendingSent": None,
    "autoPingPendingSeq": 0,
    "autoPingTimeoutCall": None,
    "closeHandshakeTimeoutCall": None,
    "closedByMe": False,
    "connected": 1,
    "current_frame": None,
    "data": b"",
    "droppedByMe": False,
    "failedByMe": False,
    "inside_message": False,
    "localCloseCode": None,
    "localCloseReason": None,
    "openHandshakeTimeoutCall": None,
    "remoteCloseCode": None,
    "remoteCloseReason": None,
    "send_state": 0,
    "trackedTimings": None,
    "triggered": False,
    "wasClean": False,
    "wasCloseHandshakeTimeout": False,
    "wasMaxFramePayloadSizeExceeded": False,
    "wasMaxMessagePayloadSizeExceeded": False,
    "wasNotCleanReason": None,
    "wasOpenHandshakeTimeout": False,
    "wasServerConnectionDropTimeout": False,
    "wasServingFlashSocketPolicyFile": False,
    "websocket_version": 13,
}


def strip(protocol: AgentProtocol) -> None:
    """The handshake is over: keep only what is this connection's own."""
    kept = {name: value for name, value in vars(protocol).items() if name not in OVER}
    for name, value in USUAL.items():
        if kept.get(name, value) == value:
            kept.pop(name, None)
    # A dictionary does not shrink when something is taken out.
    protocol.__dict__ = kept
