"""Publishers: one POST after the other, batches, publications over a WebSocket. All spend the same sort of budget."""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Callable, Sequence

import msgspec

from bench.agents import SocketLine, decode_frame
from bench.loop import Line, Loop
from bench.tally import Budget, Tally
from bench.wire import Chunks, Outcome, batch, line, post, publish, register, take_answer, take_head

#: What a person says to a program: short, and not all of it ASCII.
PAYLOAD = '{"text":"Bitte den Termin mit Frau Müller auf Donnerstag, halb vier, verschieben.","lang":"de"}'.encode()

decode_outcome = msgspec.json.Decoder(Outcome).decode


class Aim:
    """What the publishers of a measurement send, to whom, and what they should be told: ``wanted``, a status."""

    def __init__(self, port: int, agents: Sequence[str], tally: Tally, wanted: str = "delivered") -> None:
        self.port = port
        self.agents = agents
        self.tally = tally
        self.wanted = wanted
        self.budget = Budget()
        self.seconds = array("d")  #: how long each POST took
        self._posts = itertools.cycle([post(port, agent, PAYLOAD) for agent in agents])

    def next_post(self) -> bytes:
        """To each agent in turn."""
        return next(self._posts)

    def settle(self, status: str | int, said: bytes) -> None:
        """One was answered."""
        self.budget.decided()
        if status == self.wanted:
            self.tally.settled += 1
        else:
            self.tally.odd(str(status) if isinstance(status, str) and status else said.decode(errors="replace")[:200])


class Publisher(Line):
    """Posts a message, waits for the answer, posts the next."""

    def __init__(self, loop: Loop, aim: Aim) -> None:
        self.aim = aim
        self._rest = b""
        self._since = 0.0
        super().__init__(loop, aim.port)

    def opened(self) -> None:
        self.aim.tally.publishers += 1

    def start(self) -> None:
        """Post the next one, if there is one."""
        if self.aim.budget.take():
            self.post(time.perf_counter())

    def post(self, since: float) -> None:
        """Post one whose time counts from then."""
        self._since = since
        self.aim.tally.posted += 1
        self.send(self.aim.next_post())

    def free(self) -> None:
        """The answer has come."""
        self.start()

    def received(self, data: bytes) -> None:
        answer, self._rest = take_answer(self._rest + data if self._rest else data)
        if answer is None:
            return
        self.aim.seconds.append(time.perf_counter() - self._since)
        self.aim.settle(decode_outcome(answer.body).status if answer.status == 200 else "", answer.body)
        self.free()

    def lost(self, why: str) -> None:
        raise ConnectionError(f"a publisher lost its connection: {why}")


class BatchPublisher(Line):
    """Sends a batch, reads its results as they come, sends the next."""

    def __init__(self, loop: Loop, aim: Aim, size: int) -> None:
        self.aim = aim
        agents = itertools.islice(itertools.cycle(aim.agents), size)
        self._lines = [line(agent, PAYLOAD) for agent in agents]
        self._whole = batch(aim.port, self._lines)
        self._chunks: Chunks | None = None
        self._rest = b""
        super().__init__(loop, aim.port)

    def opened(self) -> None:
        self.aim.tally.publishers += 1

    def start(self) -> None:
        """Send the next one, if there is one."""
        count = self.aim.budget.take(len(self._lines))
        self.aim.tally.posted += count
        if count:
            self.send(self._whole if count == len(self._lines) else batch(self.aim.port, self._lines[:count]))

    def free(self) -> None:
        """The answer is whole."""
        self.start()

    def received(self, data: bytes) -> None:
        if self._chunks is None:
            head, data = take_head(self._rest + data)
            if head is None:
                self._rest = data
                return
            self._chunks, self._rest = Chunks(), b""
        results, end = self._rest + self._chunks.feed(data), 0
        if (end := results.rfind(b"\n") + 1) > 0:
            self._count(results[:end])
        self._rest = results[end:]
        if self._chunks.ended:
            self._rest, self._chunks = self._chunks.rest, None
            self.free()

    def _count(self, results: bytes) -> None:
        lines = results.count(b"\n")
        # All as they should be: seen without looking at each, because that is time that the server does not have.
        if results.count(b'"status":"%s"' % self.aim.wanted.encode()) == lines:
            self.aim.budget.decided(lines)
            self.aim.tally.settled += lines
            return
        for result in results.splitlines():
            self.aim.settle(decode_outcome(result).status, result)

    def lost(self, why: str) -> None:
        raise ConnectionError(f"a publisher of batches lost its connection: {why}")


class SocketPublisher(SocketLine):
    """A session that only publishes, with so many publications under way at any time."""

    def __init__(self, loop: Loop, aim: Aim, under_way: int) -> None:
        self.aim = aim
        self._most = under_way
        self._frames = itertools.cycle([publish(agent, PAYLOAD) for agent in aim.agents])
        super().__init__(loop, aim.port)

    def upgraded(self) -> None:
        self.send(register())

    def start(self) -> None:
        """Publish as many as may be under way."""
        self._publish(self._most)

    def texts(self, payloads: list[bytes]) -> None:
        told = 0
        for payload in payloads:
            frame = decode_frame(payload)
            if frame.type == "registered":
                self.aim.tally.publishers += 1
            else:
                self.aim.settle(frame.status if frame.type == "result" else "", payload)
                told += 1
        self._publish(told)

    def ended(self, why: str) -> None:
        raise ConnectionError(f"a publisher over a WebSocket lost its connection: {why}")

    def _publish(self, count: int) -> None:
        count = self.aim.budget.take(count)
        self.aim.tally.posted += count
        if count:
            self.send(b"".join(itertools.islice(self._frames, count)))


class Caller(Publisher):
    """One of several connections of ``Arrivals``."""

    def __init__(self, loop: Loop, aim: Aim, on_free: Callable[[Caller], None]) -> None:
        self.on_free = on_free
        super().__init__(loop, aim)

    def free(self) -> None:
        self.on_free(self)


class Arrivals:
    """POSTs that come at a rate of their own, whether or not the earlier ones were answered.

    One that finds no free connection waits for it, and its time counts from when it came: a server that stands still
    for a second is seen by all that came in that second, not only by those that were under way.
    """

    TICK = 0.001  #: seconds; an epoll cannot wait for less

    def __init__(self, loop: Loop, aim: Aim, connections: int, rate: float) -> None:
        self.aim = aim
        self._loop = loop
        self._free: list[Caller] = []
        self._waiting: list[float] = []  #: when they came, the first one last
        self._rate = rate  #: a second
        self._last = 0.0
        self._owed = 0.0
        self._callers = [Caller(loop, aim, self._is_free) for _ in range(connections)]

    @property
    def count(self) -> int:
        return len(self._callers)

    def start(self) -> None:
        """From now on they come, until the budget is spent."""
        self._free, self._last = list(self._callers), time.perf_counter()
        self._tick()

    def close(self) -> None:
        for caller in self._callers:
            caller.close()

    def _tick(self) -> None:
        now = time.perf_counter()
        self._owed += (now - self._last) * self._rate
        self._last = now
        come = self.aim.budget.take(int(self._owed))
        self._owed -= int(self._owed)
        self._waiting[:0] = [now] * come
        while self._waiting and self._free:
            self._free.pop().post(self._waiting.pop())
        if self.aim.budget.left:
            self._loop.later(self.TICK, self._tick)

    def _is_free(self, caller: Caller) -> None:
        if self._waiting:
            caller.post(self._waiting.pop())
        else:
            self._free.append(caller)
