"""Runs pods: puts them on nodes, starts their processes, asks whether they are ready, ends them."""

# ruff: noqa: ASYNC110 - what it waits for is a field that the API's other side sets, of which nobody is told
import asyncio
import contextlib
import os
import signal

import aiohttp

from .containers import CannotStart, Container
from .nodes import place
from .selectors import at
from .store import NODES, PODS, now
from .streams import LOG, pod_folder

_LOOK = 0.1  # seconds between two looks at what has changed
_LONGEST_BACKOFF = 8.0  # seconds before a container that ended is started again


class Kubelet:
    """The scheduler and every node's kubelet in one; each pod that has a node is a task of its own."""

    def __init__(self, store, folder, names, block):
        self._store, self._folder, self._names, self._block = store, folder, names, block
        self._pods, self._addresses = {}, 0

    def look(self):
        """Start what can be started, and take out what never ran."""
        pods = self._store.resources[PODS].objects
        for (namespace, name), pod in list(pods.items()):
            uid = pod["metadata"]["uid"]
            if uid in self._pods:
                continue
            if pod["metadata"].get("deletionTimestamp"):
                self._store.remove(PODS, namespace, name)
                continue
            node, why = place(pod, self._store.list(NODES), self._store.list(PODS))
            if node is None:
                refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
                self._store.set_status(PODS, namespace, name, conditions=[refused])
                continue
            self._store.update(PODS, namespace, name, {**pod, "spec": {**pod["spec"], "nodeName": node}})
            self._addresses += 1
            address = f"{self._block}.{self._addresses // 250}.{self._addresses % 250 + 2}"
            running = _RunningPod(self._store, pod, address, pod_folder(self._folder, pod), self._names)
            self._pods[uid] = asyncio.create_task(running.run())

    async def stop(self):
        """End every process."""
        for task in self._pods.values():
            task.cancel()
        await asyncio.gather(*self._pods.values(), return_exceptions=True)


class _RunningPod:
    """One pod that has a node."""

    def __init__(self, store, pod, address, folder, names):
        self._store, self._pod, self._address, self._folder, self._names = store, pod, address, folder, names
        self._at = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        self._process, self._restarts = None, 0

    @property
    def _now(self):
        """The pod as it is now, or None if it has gone, or is another one of that name."""
        found = self._store.find(PODS, *self._at)
        return found if found and found["metadata"]["uid"] == self._pod["metadata"]["uid"] else None

    @property
    def _doomed(self):
        return self._now is None or "deletionTimestamp" in self._now["metadata"]

    async def run(self):
        """Start the container, and again whenever it ends, until the pod is deleted."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while not self._doomed:
                code = await self._once()
                policy = self._pod["spec"].get("restartPolicy", "Always")
                if self._doomed or policy == "Never" or (policy == "OnFailure" and code == 0):
                    break
                await self._wait(min(2.0**self._restarts / 2, _LONGEST_BACKOFF))
                self._restarts += 1
            if not self._doomed:
                self._say("Succeeded" if code == 0 else "Failed", {"terminated": {"exitCode": code}})
                await self._wait(float("inf"))
            await self._end()
        finally:
            self._kill()
            if self._now is not None and self._doomed:
                self._store.remove(PODS, *self._at)

    async def _once(self):
        """Run the container until it ends by itself, or the pod is deleted; return its exit code."""
        try:
            container = Container(self._store, self._pod, self._address, self._folder, self._names)
            with (self._folder / LOG).open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *container.words(),
                    env=container.environment,
                    cwd=self._folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except CannotStart as reason:
            self._say("Pending", {"waiting": {"reason": "CreateContainerConfigError", "message": str(reason)}})
            return 1
        except OSError as error:
            self._say("Running", {"waiting": {"reason": "CrashLoopBackOff", "message": str(error)}})
            return 128
        self._container, ready = container, container.ready_url is None
        self._say("Running", {"running": {"startedAt": now()}}, ready=ready)
        while self._process.returncode is None and not self._doomed:
            if not ready and await _answers(container.ready_url):
                ready = True
                self._say("Running", {"running": {"startedAt": now()}}, ready=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._process.wait()), _LOOK)
        code = self._process.returncode
        if code is not None:
            self._say("Running", {"waiting": {"reason": "CrashLoopBackOff", "message": f"exit code {code}"}})
        return code

    async def _wait(self, seconds):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == float("inf") else seconds):
                while not self._doomed:
                    await asyncio.sleep(_LOOK)

    async def _end(self):
        """Run what is to run before, then ask the process to end, all within the time of grace."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                if words := self._container.pre_stop:
                    await self._run_before(words)
                if process.returncode is None:
                    process.terminate()
                while process.returncode is None and self._grace:
                    await asyncio.sleep(_LOOK)

    async def _run_before(self, words):
        with (self._folder / "pre-stop.log").open("ab") as log:
            before = await asyncio.create_subprocess_exec(
                *words,
                env=self._container.environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            while before.returncode is None and self._grace:
                await asyncio.sleep(_LOOK)
        finally:
            if before.returncode is None:
                os.killpg(before.pid, signal.SIGKILL)

    @property
    def _grace(self):
        """Seconds between the order to end and the kill; 0 is how a node goes that is taken away."""
        return 0 if self._now is None else at(self._now, "metadata.deletionGracePeriodSeconds", 30)

    def _kill(self):
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _say(self, phase, state, *, ready=False):
        passed = ("PodScheduled", "Initialized")
        conditions = [
            {"type": kind, "status": "True" if ready or kind in passed else "False"}
            for kind in (*passed, "ContainersReady", "Ready")
        ]
        container = self._pod["spec"]["containers"][0]
        status = {"name": container["name"], "image": container.get("image", ""), "imageID": "", "state": state}
        status |= {"ready": ready, "started": ready, "restartCount": self._restarts}
        where = {"podIP": self._address, "hostIP": "127.0.0.1"}
        self._store.set_status(PODS, *self._at, phase=phase, conditions=conditions, containerStatuses=[status], **where)


async def _answers(url):
    try:
        async with aiohttp.ClientSession() as session, session.get(url, timeout=aiohttp.ClientTimeout(2)) as answer:
            return answer.status < 400
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
