"""Every limit of the contract that is built, with its default. The configuration names each of them."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

LETTERS_BYTES = MIB  #: of payload on a page of dead letters; one of any size alone


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what comes from outside. Sizes in bytes, times in seconds, rates per second."""

    # connections; 0 means no limit
    connections: int = 0  #: in all; past it newcomers wait to be accepted
    address_connections: int = 0  #: of one address (an IPv6 network of /64 is one)
    unregistered: int = 20_000  #: WebSockets and polls that hold no agent
    descriptors: int = 90  #: percent of the file descriptors; past it newcomers wait to be accepted
    # rates; 0 means no limit
    address_requests: float = 0.0  #: requests and upgrades of one address …
    publisher_requests: float = 0.0  #: … and of one publisher
    address_registrations: float = 0.0  #: upgrades, and polls that begin a session, of one address
    names: int = 100_000  #: addresses, and publishers, of which the rates are remembered
    # HTTP
    payload: int = MIB  #: a POST's body
    head_bytes: int = 16 * KIB  #: a request's head
    header_count: int = 100
    head_seconds: float = 10.0  #: from accept, or from the head's first byte, to a whole head
    idle_seconds: float = 60.0  #: between two requests
    body_grace: float = 10.0  #: a body may be slower than ``body_rate`` that long
    body_rate: int = KIB  #: bytes a second after that
    linger_bytes: int = 4 * MIB  #: read and thrown away after an answer that came before the request's end …
    linger_seconds: float = 2.0  #: … and for so long
    wait_max: float = 30.0  #: ``Prefer: wait``
    # messages
    ttl: float = 7 * 86400.0
    ttl_max: float = 30 * 86400.0
    reply: int = 64 * KIB  #: an ACK's ``reply``
    reason: int = 1000  #: characters of a nack's reason; the rest is cut off
    headers_given: int = 32  #: headers of a message that are given to its agent …
    headers_bytes: int = 8 * KIB  #: … and their names and values together
    batch_count: int = 100  #: messages of one ``messages`` frame …
    batch_bytes: int = MIB  #: … and their bytes; one of any size alone
    queue_count: int = 100_000  #: messages queued for one agent
    queue_bytes: int = 256 * MIB
    total_count: int = 10_000_000  #: messages queued in all
    total_bytes: int = 16 * GIB
    redeliveries: int = 16  #: counted failures until a message is a dead letter …
    redelivery_age: float = 86400.0  #: … and at the earliest so long after the first
    # WebSocket
    frame: int = 2 * MIB  #: the largest frame (and message) the relay takes, also when it is decompressed
    frames: float = 0.0  #: messages a second from one agent; 0: no limit
    fragments: int = 1000  #: of one message
    message_seconds: float = 30.0  #: a fragmented message may be under way that long
    register_seconds: float = 10.0  #: from the upgrade to ``register``
    registrations: float = 2000.0  #: a second
    errors: int = 100  #: ``error`` frames in ``error_seconds``; one more closes with 4004
    error_seconds: float = 60.0
    max_in_flight: int = 10_000  #: the most an agent may ask for
    default_in_flight: int = 1000
    ack_wait: float = 30.0  #: until the first redelivery, unless the agent says otherwise
    ack_wait_max: float = 3600.0
    kept_frames: int = 1000  #: of a newcomer, while the holder is asked for a sign of life
    probe_seconds: float = 2.0  #: a holder's time to prove that it lives
    unrecorded: int = 1000  #: ACKs of an agent that could not be recorded; then its queue rests
    session_buffer: int = MIB  #: bytes that have not left for one agent
    total_buffer: int = 256 * MIB  #: bytes that have not left, and direct messages held in memory, all together
    stalled_seconds: float = 30.0  #: a socket that takes nothing for so long is closed with 4008
    close_seconds: float = 5.0  #: from a close frame to the end of the TCP connection
    drain_seconds: float = 10.0
    # the log
    logged: int = 200  #: characters of a stranger's text in a field of a line
    # pages read from a store
    page_count: int = 100
    page_bytes: int = MIB
    known_agents: int = 1_000_000
    # what is remembered
    remembered: int = 100_000  #: ended messages that were never durable …
    remembered_bytes: int = 64 * MIB  #: … and their bytes with replies; one of any size alone
    events: int = 10_000  #: kept for ``Last-Event-ID``, and waiting for one subscriber
    subscribers: int = 100  #: of events
    ended_seconds: float = 86400.0  #: how a message ended is remembered so long after its end, …
    ended_count: int = 1_000_000  #: … and of at most so many, …
    ended_bytes: int = 256 * MIB  #: … with so many bytes of replies: the oldest are given up first
    letter_seconds: float = 14 * 86400.0  #: a dead letter is kept so long after its end, …
    letter_count: int = 100_000  #: … and at most so many, …
    letter_bytes: int = 256 * MIB  #: … with so many bytes of payload: the oldest are given up first
    keys: int = 10_000_000  #: idempotency keys
    callbacks: int = 1_000_000  #: owed to receivers, or promised to messages that have not ended
    overdue_count: int = 1000  #: expired messages taken out of the queues at a time
    # tokens
    token_bytes: int = 8 * KIB  #: of one token
    auth_seconds: float = 15.0  #: a token that needs others to be checked is checked within that
    auth_failures: int = 10  #: of one address …
    auth_failure_seconds: float = 60.0  #: … in that time: this one, and those after it, …
    auth_delay: float = 1.0  #: … are answered so much later
    auth_addresses: int = 10_000  #: whose failures are counted
    jwt_cached: int = 10_000  #: tokens that need no second look until they expire
    # plugins
    extension_seconds: float = 5.0  #: that a plugin may take for one message, notice or request
    extension_queue: int = 1000  #: notices that wait for one listener; messages that wait for filters
    extension_failures: int = 20  #: in a row: then a listener is switched off
    # batches
    undecided: int = 1000  #: lines of a batch, or publications of a session
    undecided_bytes: int = 16 * MIB
    unread: int = 4 * MIB  #: bytes of results that the publisher has not read; then nothing more is read from it
    small_count: int = 10_000  #: a batch of so many lines …
    small_bytes: int = 8 * MIB  #: … and bytes is read to its end, though none of its results is
    batch_pause: float = 300.0  #: between two pieces of its body
    silent_count: int = 100  #: undecided lines of one agent …
    silent_seconds: float = 1.0  #: … that acknowledged nothing for so long are not waited for
