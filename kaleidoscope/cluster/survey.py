"""What the hosts have, asked before anything is started on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from kaleidoscope.cluster import environment
from kaleidoscope.cluster.link import ANSWER, command_line, connect, python_of
from kaleidoscope.cluster.places import label_of, with_room
from kaleidoscope.cluster.spec import Host, Ssh, WorkerGroup
from kaleidoscope.errors import ResourceError


async def look_at(host: Host, ssh: Ssh, env: Mapping[str, str]) -> dict[str, Any]:
    """Return versions, cores and GPUs of a host, as `environment.SCRIPT` prints them.

    Raises
    ------
    ResourceError
        If it cannot be reached, or its Python does not run.
    """
    python = python_of(host, ssh)
    async with await connect(host, ssh) as connection:
        ran = await connection.run(command_line(env, [python, "-"]), input=environment.SCRIPT, timeout=ANSWER)
    try:
        found: dict[str, Any] = json.loads(str(ran.stdout).splitlines()[-1])
    except (ValueError, IndexError):
        why = str(ran.stderr).strip()[-300:] or f"exit status {ran.exit_status}"
        message = f"{label_of(host)}: {python} does not run there: {why}. Name one that does (python: /path/to/python)"
        raise ResourceError(message) from None
    return found


async def look_at_hosts(
    hosts: Sequence[Host], ssh: Ssh, groups: Mapping[str, WorkerGroup], env: Mapping[str, str]
) -> tuple[Host, ...]:
    """Return the hosts with how many workers each holds, once all of them have what this machine has.

    Raises
    ------
    ResourceError
        With a line for each host that has not, or that cannot be reached.
    """
    mine, wrong = environment.here(), []
    found = await asyncio.gather(*(look_at(host, ssh, env) for host in hosts), return_exceptions=True)
    ready = []
    for host, facts in zip(hosts, found, strict=True):
        if isinstance(facts, ResourceError):
            wrong.append(facts.message)
        elif isinstance(facts, BaseException):
            raise facts
        elif said := environment.differences(mine, facts, python_of(host, ssh)):
            wrong.append(f"{label_of(host)}: {said}")
        else:
            ready.append(with_room(host, groups, facts))
    if wrong:
        raise ResourceError("\n".join(wrong))
    return tuple(ready)
