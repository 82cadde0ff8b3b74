"""A TCP proxy that drops, delays and cuts traffic. Each process has one proxy per server.

All proxies run in one thread with its own event loop; any other thread may call their methods.
"""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

UP, DOWN = "up", "down"  # to the server; to the client
WRITES = b"\x02update\0", b"\x02delete\0"  # how commands that write begin, in BSON
LINGER = 0.3  # seconds between forwarding held writes to a server and closing a connection whose client has left
TICK = 1e-6  # keeps pieces that are due at the same time in order


class Proxies:
    """The thread that runs the proxies."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True, name="proxies").start()

    def start(self, target: int) -> Proxy:
        """Start a proxy in front of 127.0.0.1:`target`, on a free port."""
        proxy = Proxy(self.loop, target)
        asyncio.run_coroutine_threadsafe(proxy.listen(), self.loop).result(10)
        return proxy


class Proxy:
    """Forwards bytes until a method introduces a fault."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self.loop = loop
        self.target = target
        self.port = 0
        self.lost: dict[str, bool] = {UP: False, DOWN: False}
        self.delays: dict[str, float] = {UP: 0.0, DOWN: 0.0}
        self.holding = False
        self.ends: set[_End] = set()

    async def listen(self) -> None:
        server = await self.loop.create_server(lambda: _End(self, UP), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    def lose(self, *directions: str) -> None:
        """Drop everything in these directions. Each side only sees the other one as slow."""
        self.loop.call_soon_threadsafe(self.lost.update, dict.fromkeys(directions, True))

    def delay(self, direction: str, seconds: float) -> None:
        """Delay each piece in this direction by up to `seconds`."""
        self.loop.call_soon_threadsafe(self.delays.update, {direction: seconds})

    def hold(self) -> None:
        """Hold MongoDB's writes until `release`, even those of clients that give up meanwhile."""
        self.loop.call_soon_threadsafe(self._hold, True)

    def release(self) -> None:
        """Forward the writes that were held."""
        self.loop.call_soon_threadsafe(self._hold, False)

    def _hold(self, holding: bool) -> None:
        self.holding = holding
        if not holding:
            for end in list(self.ends):
                end.release()

    def cut(self) -> None:
        """Reset every connection."""
        self.loop.call_soon_threadsafe(self._cut, False)

    def heal(self) -> None:
        """Forward everything again. Reset the connections that have lost bytes, because they are out of sync."""
        self.loop.call_soon_threadsafe(self._heal)

    def _heal(self) -> None:
        self.lost = dict.fromkeys((UP, DOWN), False)
        self.delays = dict.fromkeys((UP, DOWN), 0.0)
        self._cut(True)

    def _cut(self, only_torn: bool) -> None:
        for end in list(self.ends):
            if end.torn or not only_torn:
                end.reset()


class _End(asyncio.Protocol):
    """One side of a connection: its peer sends what this side receives."""

    def __init__(self, proxy: Proxy, direction: str, peer: _End | None = None) -> None:
        self.proxy = proxy
        self.direction = direction
        self.peer = peer
        self.transport: Any = None
        self.torn = False
        self.last_due = 0.0
        self.held: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.proxy.ends.add(self)
        if self.peer is None:
            transport.pause_reading()
            self.connecting = self.proxy.loop.create_task(self._connect())

    async def _connect(self) -> None:
        self.peer = _End(self.proxy, DOWN, self)
        try:
            await self.proxy.loop.create_connection(lambda: self.peer, "127.0.0.1", self.proxy.target)
            self.transport.resume_reading()
        except (OSError, RuntimeError):  # the server is down, or the client has gone meanwhile
            self.reset()

    def data_received(self, data: bytes) -> None:
        if self.proxy.lost[self.direction]:
            self.torn = True
            return
        if self.proxy.holding and self.direction == UP and (self.held or any(name in data for name in WRITES)):
            self.held.append(data)
            return
        now = self.proxy.loop.time()
        due = max(now + random.uniform(0, self.proxy.delays[self.direction]), self.last_due + TICK)
        assert self.peer is not None
        if due <= now + 2 * TICK:
            self.peer.send(data)
        else:
            self.last_due = due
            self.proxy.loop.call_at(due, self.peer.send, data)

    def send(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def release(self) -> None:
        if self.held and self.peer is not None:
            self.peer.send(b"".join(self.held))
            self.held.clear()
            if self.transport.is_closing():
                self.proxy.ends.discard(self)
                self.proxy.loop.call_later(LINGER, self.peer.reset)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.held:
            return  # until they are released
        self.proxy.ends.discard(self)
        if self.peer is not None:
            self.peer.reset()

    def reset(self) -> None:
        if self.transport is not None:
            self.transport.abort()
