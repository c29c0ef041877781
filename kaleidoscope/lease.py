"""The lease on a target: one writer at a time, and a dead one does not block the next.

Each holder creates ``_kaleidoscope/lease-N``, N one above any there is; that several cannot create the same object
decides who wins. Where a store lets them replace one another's, the last one wins: each waits for as long as writing
one may take after the look, and then sees whose it is. A lease may be passed over when a task of its run has failed, or
its holder is a process of this machine that no longer runs, or gave no sign of life for as long as it had said it might
(two minutes).
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import psutil

from kaleidoscope import settings
from kaleidoscope.errors import StoreError
from kaleidoscope.log import tell
from kaleidoscope.settings import DEFAULTS
from kaleidoscope.sources import RECORD_FOLDER
from kaleidoscope.storage import Store

_log = logging.getLogger(__name__)

#: Seconds without a sign of life after which a holder counts as dead, wherever it ran, where nobody sets others.
EXPIRES_AFTER: float = DEFAULTS["lease-expires-after"]
_RENEW_EVERY = 15.0
#: Seconds from the look to the lease, on a store that knows no conditional puts: who needs more starts again.
_SETTLES_IN = 1.0
_LOOKS = 5
#: And at leases that are listed and have gone, with seconds between.
_LOOKS_FOR_GONE, _BETWEEN_LOOKS = 6, 0.05
#: Seconds after which a task looks whether its run was given up or taken over.
CHECK_EVERY = 1.0
State = Literal["new", "checked", "open", "failed"]
_NAME = re.compile(r"lease-(\d+)\.json")
#: Runs of this process that are over, and could not give their leases back: the store was out of reach.
_kept: set[str] = set()


def _boot_id() -> str:
    """Return what tells this boot of this machine from others, where the system says so."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that asked for a run.

    Parameters
    ----------
    run_id : str
        One run of it.
    host, boot : str
        The machine, and which boot of it.
    pid : int
        The process.
    born : float
        When the process started, since process ids are used again.
    expires_after : float
        Seconds that it may give no sign of life.
    over : sequence of str
        Earlier runs of the same process that are over, and could not give their leases back.
    """

    run_id: str
    host: str
    boot: str
    pid: int
    born: float
    expires_after: float = EXPIRES_AFTER
    over: Sequence[str] = ()

    @classmethod
    def here(cls, run_id: str) -> Owner:
        """Return this process as the owner of a run."""
        born, expires_after = psutil.Process().create_time(), settings.value("lease-expires-after")
        return cls(run_id, socket.gethostname(), _boot_id(), os.getpid(), born, expires_after, sorted(_kept))

    def is_dead(self) -> bool:
        """Whether this is a process of the present machine that runs no more; False where that cannot be known."""
        if (self.host, self.boot) != (socket.gethostname(), _boot_id()):
            return False
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - self.born) > 1.0
        except psutil.NoSuchProcess:
            return True


@dataclass(frozen=True)
class Lease:
    """The right to write to a target.

    Parameters
    ----------
    store : Store
        The target.
    owner : Owner
        Who holds it.
    number : int
        Its place in the row of leases.
    state : str
        ``new``; ``checked`` once the target is known to be as it was planned for, and what changes there is this run's
        doing; ``open`` once the run's record is written, so that a task that opens the run a second time has nothing to
        do; ``failed`` once a task has failed: another run may pass it over, unless that task is tried again.
    inherited : bool
        Another run was passed over: tasks of it may be at work for `CHECK_EVERY` seconds.
    """

    store: Store
    owner: Owner
    number: int
    state: State = "new"
    inherited: bool = False
    _renewed: list[float] = field(default_factory=lambda: [time.monotonic()], repr=False, compare=False)
    _looked: list[float] = field(default_factory=lambda: [time.monotonic()], repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to the workers."""
        return Lease, (self.store, self.owner, self.number, self.state)

    @property
    def name(self) -> str:
        """The object that stands for it."""
        return f"{RECORD_FOLDER}/lease-{self.number}.json"

    def renew(self) -> None:
        """See every second whether this run may go on, and give a sign of life every now and then."""
        now = time.monotonic()
        with self._lock:
            look, renew = now - self._looked[0] >= CHECK_EVERY, now - self._renewed[0] >= _RENEW_EVERY
            if look or renew:
                self._looked[0] = now
            if renew:
                self._renewed[0] = now
        if look or renew:
            self.check()
        if not renew:
            return
        self.store.write(self.name, _text(self.owner, self.state))

    def mark(self, state: State) -> Lease:
        """Write down how far the run has come; return the lease that says so."""
        self.check()
        self.store.write(self.name, _text(self.owner, state))
        return replace(self, state=state)

    def check(self) -> None:
        """Refuse to go on once somebody else has taken over, or the run was given up.

        Raises
        ------
        StoreError
            If this lease is no longer there, or no longer ours.
        """
        if not self._is_ours():
            raise StoreError(
                f"{self.store.url}: this run was given up or another one has taken over; what it had committed stays, "
                "and a new run goes on from there"
            )

    def release(self) -> None:
        """Let the next writer in; a lease of the same name that is another run's stays."""
        if self._is_ours():
            self.store.delete([self.name])

    def _is_ours(self) -> bool:
        data = self.store.read_if_there(self.name)
        return data is not None and _content(self.store, self.name, data)["owner"]["run_id"] == self.owner.run_id


def _text(owner: Owner, state: State) -> bytes:
    return json.dumps({"owner": asdict(owner), "state": state, "renewed": time.time()}).encode()


def is_held(names: Iterable[str]) -> bool:
    """Whether there is a lease among the names in a target's record: a run is at work there, or was killed."""
    return any(map(_NAME.fullmatch, names))


def _held(store: Store) -> dict[int, tuple[Lease, float]]:
    """Return the leases there are by their numbers, each with the seconds since its last sign of life."""
    for look in range(_LOOKS_FOR_GONE):
        if look:
            time.sleep(_BETWEEN_LOOKS)
        found, gone = {}, False
        names = [match for match in map(_NAME.fullmatch, store.list(RECORD_FOLDER)) if match]
        for match in names:
            data = store.read_if_there(f"{RECORD_FOLDER}/{match[0]}")
            if data is None:
                gone = True  # it went while we looked, and another one may have come: look again
                continue
            content = _content(store, match[0], data)
            lease = Lease(store, Owner(**content["owner"]), int(match[1]), content["state"])
            found[lease.number] = (lease, time.time() - content["renewed"])
        if not gone:
            break
    return found  # what a server goes on listing that is not there, as rclone may after a put and a delete at once


def take_lease(store: Store, owner: Owner) -> Lease:
    """Become the one writer of a target.

    Returns
    -------
    Lease
        The one it has already, if this run took it before.

    Raises
    ------
    StoreError
        If another writer holds it, naming it and what to do.
    """
    for _ in range(_LOOKS):
        looked = time.monotonic()
        held = _held(store)
        for other, age in held.values():
            if other.owner.run_id == owner.run_id:
                return other
            if _is_alive(other, age, owner):
                raise _in_use(other, age)
        lease = Lease(store, owner, max(held, default=0) + 1, inherited=bool(held))
        if _wrote(lease, looked):
            break
    else:
        raise StoreError(
            f"{store.url} has no conditional puts, and its answers take too long to tell two writers apart without: "
            "make sure that no other run writes there, and start this one again"
        )
    for other, age in held.values():
        tell(_log, logging.WARNING, _taken_over(other, age, owner))
    store.delete(other.name for other, _ in held.values())
    return lease


def _wrote(lease: Lease, looked: float) -> bool:
    """Write a lease; return whether that was in time, which is asked of stores without conditional puts only.

    Parameters
    ----------
    lease : Lease
        Of a number that was free.
    looked : float
        When the look began that said so, by `time.monotonic`.

    Raises
    ------
    StoreError
        If another writer was faster.
    """
    store, text = lease.store, _text(lease.owner, "new")
    created = store.create(lease.name, text)
    if created and store.replaces(lease.name, text):
        # Whoever writes this lease after us has looked before we wrote it, and has done so when we wake up.
        if time.monotonic() - looked > _SETTLES_IN:
            lease.release()
            return False
        time.sleep(_SETTLES_IN)
    # Another one may have come between the look and the try, under this number or one that had become free again.
    # Of two, the later one sees the earlier one here.
    now = _held(store)
    for other, age in now.values():
        if other.owner.run_id != lease.owner.run_id and _is_alive(other, age, lease.owner):
            if created:
                lease.release()
            raise _in_use(other, age)
    if not created or lease.number not in now:
        raise StoreError(f"another run has just been at {store.url}: start this one again")
    return True


def _is_alive(lease: Lease, age: float, asks: Owner) -> bool:
    if lease.owner.run_id in asks.over:
        return False
    return lease.state != "failed" and age < lease.owner.expires_after and not lease.owner.is_dead()


def _taken_over(lease: Lease, age: float, by: Owner) -> str:
    owner = lease.owner
    if owner.run_id in by.over:
        why = "it had ended while the store was out of reach"
    elif lease.state == "failed":
        why = "a task of it had failed"
    elif owner.is_dead():
        why = "that process is dead"
    else:
        why = f"its last sign of life was {age:.0f} s ago"
    return f"{lease.store.url}: taken over from run {owner.run_id} of process {owner.pid} on {owner.host}: {why}"


def _in_use(lease: Lease, age: float) -> StoreError:
    free_after = lease.owner.expires_after
    return StoreError(
        f"{lease.store.url} is being written by process {lease.owner.pid} on {lease.owner.host} (last sign of life "
        f"{age:.0f} s ago): wait until it is done. If it is dead, this target is free {free_after:.0f} s after that"
    )


def _content(store: Store, name: str, data: bytes) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(data)
    except ValueError:
        raise StoreError(f"{store.url}: {name} is damaged; delete it if no run is writing there") from None
    return content


def give_up(store: Store, run_id: str) -> None:
    """Let go of the lease of a run that ended early, if it has one; this process passes it over from here on."""
    _kept.add(run_id)
    for lease, _ in _held(store).values():
        if lease.owner.run_id == run_id:
            lease.release()
    _kept.discard(run_id)
