"""S3 servers in processes of their own, and a way to one on which requests are counted, lost, broken or struck."""

import asyncio
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path

SECRET = "only-for-this-test"  # noqa: S105
_ERROR = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>Made up.</Message></Error>'
#: What a way answers by itself.
ANSWERS = {
    "busy": (b"503 Slow Down", _ERROR % b"SlowDown"),
    "lie": (b"200 OK", _ERROR % b"InternalError"),
    "no conditions": (b"501 Not Implemented", _ERROR % b"NotImplemented"),
}


def bound(*, shared=False):
    """Return a socket at a port of this machine that nobody uses; on Linux, a server may listen beside a shared one."""
    taken = socket.socket()
    if shared:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", 0))
    return taken


class Server:
    """A server of S3: what opens it, and how it is started, killed, and started again where it was."""

    def __init__(self, command, log):
        self._kept = bound(shared=True)  # it never listens: the port stays ours while the server is not there
        self.port, self._command, self._log = self._kept.getsockname()[1], command, log
        if sys.platform != "linux":
            self._kept.close()
        self.options = {"key": "kaleidoscope", "secret": SECRET, "endpoint_url": f"http://127.0.0.1:{self.port}"}
        self.process = None

    def start(self):
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command(self.port), stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, self._log.read_text()  # or whoever answers is another one
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.02)
            else:
                return self

    def kill(self):
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()  # asked to end, it would wait for connections that clients hold on to
        self._kept.close()


def rclone(top, log):
    """Return a server whose buckets are the folders of `top`; None if there is no rclone."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which("rclone", path=os.pathsep.join([beside, os.environ["PATH"]]))
    how = ("--auth-key", f"kaleidoscope,{SECRET}", "--config", os.devnull)
    if program is None:
        return None
    return Server(lambda port: [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", *how, str(top)], log)


def moto(log):
    """Return a server that holds what it is given in memory, and knows conditional puts."""
    program = shutil.which("moto_server", path=str(Path(sys.executable).parent))
    return Server(lambda port: [program, "-H", "127.0.0.1", "-p", str(port)], log)


class Way:
    """A way to a server: it notes every request, and answers some with 503, cuts connections and bodies, takes time.

    What it does is drawn from a stream of its own, one draw a request.

    Parameters
    ----------
    to : int
        The server's port.
    busy, reset, cut, stall, lie : float
        Shares of the requests: 503; a connection that breaks; half an answer and then a break, or nothing more; an
        answer 200 whose body is an error, with nothing done.
    delay : float
        Seconds before each.
    """

    def __init__(self, to, *, busy=0.0, reset=0.0, cut=0.0, stall=0.0, lie=0.0, delay=0.0):
        self.to, self.delay = to, delay
        self.shares = {"busy": busy, "reset": reset, "cut": cut, "stall": stall, "lie": lie}
        self.rng, self.done = random.Random(1), Counter()  # noqa: S311 - which request, not a secret
        #: Whether it refuses requests with ``If-None-Match``, as some servers do.
        self.knows_no_conditions = False
        #: Method and path with query of every request, in the order of their coming.
        self.requests = []
        self._strike = None
        self.struck = threading.Event()
        self._socket = bound()
        self.port = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def strike(self, at, stage, what):
        """Call `what` at the put of that number, counted from 1.

        The server has got nothing of it then (``before``), half of it (``half``), or all of it, and nobody its
        answer (``after``).
        """
        self._strike = (at, stage, what)

    @property
    def puts(self):
        """The keys that were put, with their buckets."""
        return [urllib.parse.unquote(path.partition("?")[0])[1:] for method, path in self.requests if method == "PUT"]

    def __enter__(self):
        started = threading.Event()
        self._started = started
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        self._socket.close()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._connected, sock=self._socket)
        self._started.set()
        await self._end.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.1)  # transports close in the loop's next turns

    async def _connected(self, reader, writer):
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _one(self, reader, writer):
        """Pass one request on, or do not; return whether the connection goes on."""
        head = await _head(reader)
        if head is None:
            return False
        if b"expect: 100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?i)\r\nexpect: 100-continue", b"", head)
        body = await reader.readexactly(_length(head))
        method, path, _ = head.decode("latin-1").split(" ", 2)
        self.requests.append((method, path))
        if self._strike is not None and method == "PUT" and len(self.puts) == self._strike[0]:
            await self._struck(head, body)
            return False
        fault = self._drawn()
        if self.knows_no_conditions and b"if-none-match" in head.lower():
            fault = "no conditions"
        self.done[fault] += 1
        await asyncio.sleep(self.delay)
        if fault in ANSWERS:
            status, said = ANSWERS[fault]
            writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(said)))
            writer.write(b"" if method == "HEAD" else said)
            await writer.drain()
        elif fault != "reset":
            await self._passed(fault, head, body, reader, writer)
        return fault in {*ANSWERS, "passed"}

    async def _passed(self, fault, head, body, reader, writer):
        answer, rest = await self._asked(head, body)
        if fault == "passed":
            writer.write(answer + rest)
        else:
            writer.write(answer + rest[: len(rest) // 2] if rest else answer[: len(answer) // 2])
        await writer.drain()
        if fault == "stall":
            await reader.read(1)  # until the client has had enough

    def _drawn(self):
        draw = self.rng.random()
        for fault, share in self.shares.items():
            if draw < share:
                return fault
            draw -= share
        return "passed"

    async def _struck(self, head, body):
        _, stage, what = self._strike
        self._strike = None
        if stage == "before":
            what()
        elif stage == "after":
            await self._asked(head, body)
            what()
        else:
            _, back = await asyncio.open_connection("127.0.0.1", self.to)
            back.write(head + body[: len(body) // 2])
            await back.drain()
            await asyncio.sleep(0.05)  # what has arrived is taken note of
            what()
            back.transport.abort()
        self.struck.set()

    async def _asked(self, head, body):
        """Return what the server answers: its head and its body."""
        there, back = await asyncio.open_connection("127.0.0.1", self.to)
        try:
            back.write(head + body)
            await back.drain()
            answer = await _head(there)
            if answer is None:
                raise ConnectionError("the server broke off")
            if head.startswith(b"HEAD") or b" 204" in answer.split(b"\r\n")[0]:
                return answer, b""
            if b"transfer-encoding: chunked" in answer.lower():
                return answer, await _chunks(there)
            return answer, await there.readexactly(_length(answer))
        finally:
            back.close()


async def _head(reader):
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None


def _length(head):
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _chunks(reader):
    whole = b""
    while True:
        line = await reader.readline()
        part = await reader.readexactly(int(line, 16) + 2)
        whole += line + part
        if int(line, 16) == 0:
            return whole
