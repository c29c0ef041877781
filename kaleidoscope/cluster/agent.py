"""What runs on a host: starts and ends Dask's processes there as it is told on its standard input, and ends with it.

Orders and answers are lines of JSON. They come through the SSH connection, so that nothing of them is seen in the
host's list of processes, and whatever ends the connection ends the workers, too. It is started by
`kaleidoscope.cluster.link`, never by hand.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import dask.config
from distributed import Nanny, Scheduler, Security

from kaleidoscope.cluster.nanny import ImageNanny
from kaleidoscope.cluster.workers import visible_devices
from kaleidoscope.gpus import devices

LOOPBACK_PORT = "127.0.0.1:0"

Say = Callable[[dict[str, Any]], None]


class Agent:
    """The servers of one host.

    Parameters
    ----------
    opening : mapping
        ``security``: the fields of a `distributed.Security`, or None. ``address``: where to listen; without it, where
        the SSH connection arrived.
    say : callable
        Sends an answer.
    """

    def __init__(self, opening: Mapping[str, Any], say: Say) -> None:
        self.address = opening["address"] or os.environ["SSH_CONNECTION"].split()[2]
        self.security = Security(**opening["security"]) if opening["security"] else Security()
        self.say = say
        self.servers: dict[str, Nanny | Scheduler] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def obey(self, order: Mapping[str, Any]) -> None:
        """Begin what an order says; answers come when it is done."""
        work = {"scheduler": self._schedule, "start": self._start, "stop": self._stop}[order["do"]]
        task = asyncio.ensure_future(self._answer(order["name"], work(order)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, name: str, work: Any) -> None:
        try:
            self.say({"name": name, **await work})
        except Exception as error:  # noqa: BLE001 - told to whoever gave the order
            self.servers.pop(name, None)
            self.say({"name": name, "failed": f"{type(error).__name__}: {error}"})

    async def _schedule(self, order: Mapping[str, Any]) -> dict[str, Any]:
        scheduler = Scheduler(
            host=self.address,
            port=order["port"],
            protocol="tls://" if self.security.require_encryption else "tcp://",
            security=self.security,
            dashboard=order["dashboard"],
            dashboard_address=LOOPBACK_PORT,
        )
        self.servers[order["name"]] = await scheduler
        return {"address": scheduler.address, "dashboard": scheduler.services["dashboard"].port}

    async def _start(self, order: Mapping[str, Any]) -> dict[str, Any]:
        options = dict(order["options"])
        shown = visible_devices(devices(), options.get("resources", {}).get("GPU", 0), order["slot"])
        nanny = ImageNanny(
            order["scheduler"],
            name=order["name"],
            host=self.address,
            security=self.security,
            dashboard=False,
            dashboard_address=LOOPBACK_PORT,  # without one it would be on all interfaces
            **{**options, "env": {**shown, **options.get("env", {})}},
        )
        self.servers[order["name"]] = nanny
        await nanny
        ended = asyncio.ensure_future(self._tell_when_ended(order["name"], nanny))
        self._tasks.add(ended)
        ended.add_done_callback(self._tasks.discard)
        return {"address": nanny.worker_address}

    async def _tell_when_ended(self, name: str, nanny: Nanny) -> None:
        await nanny.finished()
        if self.servers.pop(name, None):
            self.say({"name": name, "ended": True})

    async def _stop(self, order: Mapping[str, Any]) -> dict[str, Any]:
        server = self.servers.pop(order["name"], None)
        if server is not None:
            await server.close()
        return {"stopped": True}

    async def end(self) -> None:
        """Close everything: workers first, which would otherwise look for their scheduler."""
        servers, self.servers = self.servers, {}
        for kind in (Nanny, Scheduler):
            await asyncio.gather(*(one.close() for one in servers.values() if isinstance(one, kind)))


async def serve(orders: asyncio.StreamReader, say: Say) -> None:
    """Take orders until there are no more. The first line is the opening, with Dask's configuration in it."""
    opening = json.loads(await orders.readline())
    dask.config.update(dask.config.global_config, opening["config"])
    agent = Agent(opening, say)
    say({"name": "", "address": agent.address})
    try:
        while line := await orders.readline():
            agent.obey(json.loads(line))
    finally:
        await agent.end()


async def _main() -> None:
    # What workers print is not an answer: it goes to where their logs go.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    orders = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    await serve(orders, say)


if __name__ == "__main__":
    asyncio.run(_main())
