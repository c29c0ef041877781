"""A way to a server as ``far_away.py`` is one, which counts the requests that pass by kind.

``python counted.py SECONDS PORT`` prints the port that it listens on; whenever it gets ``SIGUSR1``, it prints as JSON
what passed since the last time: ``put``, ``get`` (``HEAD``, too), ``list``, and what costs nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections import Counter

from far_away import Far

REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.1\r\n")
KINDS = {"PUT": "put", "GET": "get", "HEAD": "get"}
PASSED: Counter[str] = Counter()


class Counted(Far):
    """The client's direction, counted."""

    def data_received(self, data: bytes) -> None:
        """Count what begins a request, and pass it on."""
        if begun := REQUEST.match(data):
            PASSED["list" if b"list-type=" in begun[2] else KINDS.get(begun[1].decode(), "free")] += 1
        super().data_received(data)


def tell() -> None:
    """Print what has passed, and begin anew."""
    print(json.dumps(PASSED), flush=True)
    PASSED.clear()


async def main(delay: float, port: int) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, tell)
    server = await loop.create_server(lambda: Counted(delay, port), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
