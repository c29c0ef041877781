"""What a write will come to: a few of its images are made, and nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dask.utils import format_bytes, format_time

from kaleidoscope.display import html_table
from kaleidoscope.layouts import Layout
from kaleidoscope.measuring import Answers, Sample
from kaleidoscope.prices import Prices
from kaleidoscope.storage import Store

#: Keys in a page of a listing.
_LISTED = 1000
#: Seconds that writing a small file takes: 0.04 ms on a RAM disk, 0.18 ms on a solid-state one.
_FILE = 1e-4
#: Requests that open and close a run, and how many more where each object that is read is looked for first.
_OPENING = {"put": 6, "get": 8, "list": 11}
_TWICE = {"get": 6, "list": 5}
#: Times that a task waits for a store, when it begins and when it ends and nothing else is left to do meanwhile.
_ENDS = 4


@dataclass(frozen=True)
class Estimate:
    """What `AugmentedBag.write` is expected to come to.

    Parameters
    ----------
    url : str
        The target.
    inputs : int
        Images that something is left to be done of.
    outputs : int
        To be written.
    skipped : int
        Outputs that are there already.
    bytes : int
        Of the outputs.
    seconds : float
        From the first task to the last, with the threads there are now. Without `latency` a store is taken to answer
        at once.
    threads : int
        Of the active client's workers, or of this machine.
    requests : mapping of str to int
        ``put``, ``get`` and ``list``, of an object store; empty for a folder.
    cost : float
        For those requests, in the currency of the prices.
    cost_a_month : float
        To keep the outputs.
    cost_from_outside : float
        For reading the inputs, if the workers are not in the region of their bucket.
    prices : Prices
        What the costs were computed with.
    measured : int
        Images that were made to find out.
    failing : float
        The share of outputs that failed among them.
    latency : float, optional
        Seconds that the store takes to answer, where it was asked to.
    """

    url: str
    inputs: int
    outputs: int
    skipped: int
    bytes: int
    seconds: float
    threads: int
    requests: Mapping[str, int] = field(default_factory=dict)
    cost: float = 0.0
    cost_a_month: float = 0.0
    cost_from_outside: float = 0.0
    prices: Prices | None = field(default=None, repr=False)
    measured: int = 0
    failing: float = 0.0
    latency: float | None = None

    def _lines(self) -> list[tuple[str, str]]:
        lines = [
            ("inputs", f"{self.inputs:,}"),
            ("outputs", f"{self.outputs:,}"),
            ("skipped", f"{self.skipped:,} are there already" if self.skipped else "0"),
            ("bytes", f"about {format_bytes(self.bytes)}"),
            ("time", f"about {format_time(self.seconds)} on {self.threads} thread{'s' * (self.threads != 1)}"),
        ]
        if self.requests and self.prices is not None:
            asked = ", ".join(f"{count:,} {kind.upper()}" for kind, count in self.requests.items())
            month = f", {self.cost_a_month:,.2f} a month to keep the outputs" if self.cost_a_month else ""
            outside = (
                f", {self.cost_from_outside:,.2f} to read the inputs from outside" if self.cost_from_outside else ""
            )
            lines += [
                ("requests", asked),
                ("cost", f"{self.cost:,.2f} {self.prices.currency} for them{month}{outside}"),
                ("prices", str(self.prices)),
            ]
        if self.requests and self.latency is None:
            lines.append(("latency", "not asked for: probe=True, or --probe on the command line, reckons with it"))
        if self.latency is not None:
            lines.append(("latency", format_time(self.latency)))
        if self.failing:
            lines.append(("failing", f"{100 * self.failing:.0f}% of the outputs that were tried"))
        lines += [("measured", f"{self.measured} images"), ("target", self.url)]
        return lines

    def __str__(self) -> str:
        """Read as a short table."""
        return "\n".join(f"{name:>8}  {value}" for name, value in self._lines())

    def _repr_html_(self) -> str:
        """Show as a table in a notebook."""
        return html_table(self._lines(), "Kaleidoscope estimate")


@dataclass(frozen=True)
class ToDo:
    """What there is to do, and with what.

    Parameters
    ----------
    inputs, outputs, skipped, blocks, tasks : int
        Left, and outputs that are there already.
    source_bytes : int
        Of the inputs, as far as their sizes are known.
    threads, processes : int
        To do it with.
    from_store : bool
        The inputs, too, are read by requests.
    reads : int
        Requests to read an object: s3fs asks for its size first.
    layout : Layout
        How the outputs lie in the target.
    """

    inputs: int
    outputs: int
    skipped: int
    blocks: int
    tasks: int
    source_bytes: int
    threads: int
    processes: int
    from_store: bool
    reads: int = 1
    layout: Layout = Layout()  # noqa: RUF009 - frozen: nothing can change it


def predict(
    store: Store, samples: Sequence[Sample], todo: ToDo, prices: Prices, answers: Answers | None = None
) -> Estimate:
    """Reckon from some images to all."""

    def total(name: str) -> Any:
        return sum(getattr(sample, name) for sample in samples)

    made = max(total("variants"), 1)
    good = total("variants") - total("failed")
    written = round(todo.outputs * good / made) if samples else 0
    size = total("bytes") / max(good, 1)
    objects = written + round(todo.outputs * total("masks") / made)
    if todo.layout.sharded:
        objects = max(min(todo.blocks, written), -(-round(written * size) // todo.layout.most))
    seconds = _seconds(store, samples, todo, objects, answers)
    requests = _requests(store, todo, objects, seconds)
    return Estimate(
        store.url,
        todo.inputs,
        todo.outputs,
        todo.skipped,
        round(written * size),
        seconds,
        todo.threads,
        {kind: requests[kind] for kind in ("put", "get", "list") if requests[kind]},
        cost=prices.of_requests(requests),
        cost_a_month=0.0 if store.local else written * size / 1e9 * prices.month,
        cost_from_outside=todo.source_bytes / 1e9 * prices.egress if todo.from_store else 0.0,
        prices=prices,
        measured=total("images"),
        failing=1 - good / made if samples else 0.0,
        latency=None if answers is None else answers.latency,
    )


def _requests(store: Store, todo: ToDo, objects: int, seconds: float) -> Counter[str]:
    """Return the requests of a first run: what `docs/writing.md` says each step of it asks a store for."""
    requests: Counter[str] = Counter()
    if todo.from_store:
        requests += Counter(get=todo.inputs * todo.reads, list=-(-todo.inputs // _LISTED))
    if not store.local and todo.blocks:
        signs = todo.processes * seconds  # a look at the lease every second, and a sign of life every fifteenth
        requests += Counter(
            put=objects + todo.blocks + _OPENING["put"] + int(signs / 15),
            get=(2 + todo.reads) * todo.blocks + _OPENING["get"] + _TWICE["get"] * (todo.reads - 1) + int(signs),
            list=2 * (todo.reads - 1) * todo.blocks + _OPENING["list"] + _TWICE["list"] * (todo.reads - 1),
        )
    return requests


def _seconds(store: Store, samples: Sequence[Sample], todo: ToDo, objects: int, answers: Answers | None) -> float:
    """Return how long it takes: the work of all threads, or the store's answers where those take longer."""
    if not samples or not todo.tasks:
        return 0.0
    images = sum(sample.images for sample in samples)
    opening = sum(sample.opening for sample in samples)
    each = (sum(sample.making for sample in samples) - opening) / max(sum(sample.variants for sample in samples), 1)
    packing = sum(sample.packing for sample in samples) / len(samples)
    work = todo.inputs * opening / images + todo.outputs * each + todo.blocks * packing + objects * _FILE * store.local
    asked = (0 if store.local else objects + 4 * todo.blocks) + todo.inputs * todo.reads * todo.from_store
    if answers is not None:
        work += asked * answers.cpu
    rounds = -(-todo.tasks // todo.threads)  # the last tasks may leave threads idle
    seconds = work * rounds / todo.tasks
    if answers is None or not asked:
        return seconds
    return max(seconds, asked * answers.each / todo.processes) + rounds * _ENDS * answers.latency
