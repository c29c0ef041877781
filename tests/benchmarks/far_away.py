"""A way to a server that takes time: what comes from a client is passed on so many seconds later.

``python far_away.py SECONDS PORT`` prints the port that it listens on, and passes all on to PORT of this machine. It
is a process of its own, so that what it costs is not the client's. A request is one message, unless the client waits
for ``100 Continue`` after its head: then it takes twice as long, as it does anywhere.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque


class Passing(asyncio.Protocol):
    """One direction of a connection."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.to: asyncio.Transport | None = None
        self._early: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of where it comes from."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass it on, after a while."""
        self._early.append(data)
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.pass_on)
        else:
            self.pass_on()

    def pass_on(self) -> None:
        """Pass on what came first: what comes together would else overtake itself."""
        self.to.write(self._early.popleft())

    def connection_lost(self, _: Exception | None) -> None:
        """Close the other side, too."""
        if self.to is not None:
            self.to.close()


class Far(Passing):
    """The client's direction: opens the other one."""

    def __init__(self, delay: float, port: int) -> None:
        super().__init__(delay)
        self.port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the server; nothing is taken before."""
        super().connection_made(transport)
        transport.pause_reading()
        self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        loop, back = asyncio.get_running_loop(), Passing()
        back.to = self.transport
        self.to, _ = await loop.create_connection(lambda: back, "127.0.0.1", self.port)
        self.transport.resume_reading()


async def main(delay: float, port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Far(delay, port), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
