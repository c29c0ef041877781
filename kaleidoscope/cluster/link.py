"""One host's SSH connection, and the agent at its other end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shlex
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from kaleidoscope.cluster.destinations import written
from kaleidoscope.cluster.places import label_of
from kaleidoscope.cluster.spec import Host, Ssh
from kaleidoscope.errors import ResourceError

logger = logging.getLogger(__name__)

#: Seconds for a connection, and for an order: an import of everything on a slow disk included.
CONNECT, ANSWER = 20, 120
#: A host that is silent at so many questions, so many seconds apart, is lost.
_ALIVE = {"keepalive_interval": 10, "keepalive_count_max": 3}


def connect_options(host: Host, ssh: Ssh) -> dict[str, Any]:
    """Return the arguments of ``asyncssh.connect`` for a host: keys only, and host keys are checked.

    What is not given is left to ``~/.ssh/config``, ``~/.ssh/known_hosts``, the agent and the keys in ``~/.ssh``.

    Examples
    --------
    >>> options = connect_options(Host("desk2", port=2222), Ssh(user="anna"))
    >>> options["host"], options["port"], options["username"], options["preferred_auth"]
    ('desk2', 2222, 'anna', 'publickey')
    >>> "known_hosts" in options, "password" in options
    (False, False)
    """
    key = host.key or ssh.key
    given = {
        "port": host.port,
        "username": host.user or ssh.user,
        "client_keys": [str(Path(key).expanduser())] if key else None,
        "known_hosts": str(Path(ssh.known_hosts).expanduser()) if ssh.known_hosts else None,
    }
    return {
        "host": host.host,
        "preferred_auth": "publickey",
        "connect_timeout": CONNECT,
        **_ALIVE,
        **{name: value for name, value in given.items() if value is not None},
    }


def python_of(host: Host, ssh: Ssh) -> str:
    """Return the Python of a host: its own, that of all hosts, or the path of this one."""
    return host.python or ssh.python or sys.executable


def by_hand(program: str, host: Host, ssh: Ssh) -> str:
    """Return what to type to reach a host as this does.

    >>> by_hand("ssh", Host("127.0.0.1", user="nobody", port=2222), Ssh())
    'ssh -p 2222 nobody@127.0.0.1'
    """
    port = ["-p", str(host.port)] if host.port else []
    return shlex.join([program, *port, written(host.host, host.user or ssh.user)])


async def connect(host: Host, ssh: Ssh) -> asyncssh.SSHClientConnection:
    """Open a connection.

    Raises
    ------
    ResourceError
        With the host, what was wrong, and what to do.
    """
    label = label_of(host)
    try:
        return await asyncssh.connect(**connect_options(host, ssh))
    except asyncssh.HostKeyNotVerifiable as error:
        tried = by_hand("ssh", host, ssh)
        raise ResourceError(
            f"{label}: its host key is not among the known ones ({error.reason}): run `{tried}` once and "
            "compare the fingerprint, or name the file that has it (known_hosts)"
        ) from None
    except asyncssh.PermissionDenied:
        raise ResourceError(
            f"{label}: it takes none of your SSH keys: run `{by_hand('ssh-copy-id', host, ssh)}`, load the key into "
            "ssh-agent, or name user and key"
        ) from None
    except (asyncssh.KeyImportError, FileNotFoundError, PermissionError) as error:
        raise ResourceError(
            f"{label}: a file of SSH keys cannot be read: {error}. Name another, or load the key into ssh-agent"
        ) from None
    except (OSError, asyncssh.Error, TimeoutError) as error:
        said = str(error) or f"no answer in {CONNECT} s"
        tried = by_hand("ssh", host, ssh)
        raise ResourceError(f"{label}: cannot be reached by SSH: {said}. Try `{tried}`") from None


def command_line(env: Mapping[str, str], command: list[str]) -> str:
    """Return what a host's shell is to run, with these environment variables.

    >>> command_line({"GREETING": "good day"}, ["python3", "-"])
    "exec env 'GREETING=good day' python3 -"
    """
    settings = [f"{name}={value}" for name, value in env.items()]
    return shlex.join(["exec", "env", *settings, *command] if settings else ["exec", *command])


@dataclass(frozen=True, slots=True)
class Opening:
    """What an agent is told first: Dask's configuration, and the keys for TLS if there is any. Neither is shown."""

    config: Mapping[str, Any] = field(repr=False)
    security: Mapping[str, Any] | None = field(repr=False)


class Link:
    """The agent on a host, and the way to it.

    Parameters
    ----------
    host, ssh : Host, Ssh
        Which, and what holds for all.
    opening : Opening
        What the agent is told first.
    env : mapping
        Environment variables of its processes; no secrets, as they are seen in the host's list of processes.
    on_ended : callable
        Called with the name of a worker that ended without having been told to.
    on_lost : callable
        Called when the connection or the agent is gone, unless by `close`.
    """

    def __init__(
        self,
        host: Host,
        ssh: Ssh,
        opening: Opening,
        env: Mapping[str, str],
        *,
        on_ended: Callable[[str], None] = lambda _: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.host, self.ssh = host, ssh
        self._opening, self._env = opening, env
        self._on_ended, self._on_lost = on_ended, on_lost
        self._opened: asyncio.Future[None] | None = None
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._last_words: deque[str] = deque(maxlen=20)
        self._closing = False
        self._process: Any = None
        self.connection: asyncssh.SSHClientConnection | None = None

    def __repr__(self) -> str:
        """Name the host."""
        return f"<Link to {label_of(self.host)}>"

    async def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Send an order and return its answer; the first one opens the link.

        Raises
        ------
        ResourceError
            If the host cannot be reached, is lost before it has answered, or says that it failed.
        """
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._open())
        await asyncio.shield(self._opened)
        return await self._send(order)

    async def _send(self, order: Mapping[str, Any]) -> dict[str, Any]:
        label, name = label_of(self.host), order.get("name", "")
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        if self._closing or self._process.stdin.is_closing():
            raise ResourceError(f"{label}: the connection is gone")
        self._answers[name] = answer
        self._process.stdin.write(json.dumps(order) + "\n")
        try:
            said = await asyncio.wait_for(answer, ANSWER)
        except TimeoutError:
            raise ResourceError(f"{label}: no answer in {ANSWER} s about {name}") from None
        finally:
            self._answers.pop(name, None)
        if "failed" in said:
            raise ResourceError(f"{label}: {name} did not start: {said['failed']}")
        return said

    async def _open(self) -> None:
        self.connection = await connect(self.host, self.ssh)
        command = command_line(self._env, [python_of(self.host, self.ssh), "-m", "kaleidoscope.cluster.agent"])
        self._process = await self.connection.create_process(command, encoding="utf-8", errors="replace")
        overhearing = asyncio.ensure_future(self._overhear())
        self._tasks = [overhearing, asyncio.ensure_future(self._hear(overhearing))]
        opening = {"config": self._opening.config, "security": self._opening.security}
        await self._send({**opening, "address": self.host.address})

    async def _hear(self, overhearing: asyncio.Task[None]) -> None:
        """Hand answers to who waits for them, until the agent is gone."""
        with contextlib.suppress(asyncssh.Error, OSError):
            async for line in self._process.stdout:
                said = json.loads(line)
                waiting = self._answers.get(said["name"])
                if "ended" in said:
                    self._on_ended(said["name"])
                elif waiting is not None and not waiting.done():
                    waiting.set_result(said)
        await asyncio.wait([overhearing], timeout=2)  # for the last words
        lost = ResourceError(f"{label_of(self.host)}: lost. {' '.join(self._last_words)[-500:]}".strip())
        for waiting in self._answers.values():
            if not waiting.done():
                waiting.set_exception(lost)
        if not self._closing:
            self._closing = True
            if self._opened is not None and self._opened.done():  # otherwise whoever opens it hears of it
                self._on_lost()

    async def _overhear(self) -> None:
        """Keep the last of what the host's processes log, and pass it on."""
        with contextlib.suppress(asyncssh.Error, OSError):
            async for line in self._process.stderr:
                self._last_words.append(line.strip())
                logger.debug("%s: %s", label_of(self.host), line.rstrip())

    async def close(self, *, at_once: bool = False) -> None:
        """End the agent and all its processes, and the connection; `at_once` where nobody is expected to answer."""
        self._closing = True
        if self.connection is None:
            return
        if self._process is not None and not at_once:
            with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
                self._process.stdin.write_eof()
                await asyncio.wait_for(self._process.wait_closed(), CONNECT)
        self.connection.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
