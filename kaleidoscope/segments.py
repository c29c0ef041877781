"""A tree that is cut, one image at a time: what a segment takes from those before it, and what it passes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from kaleidoscope.archives import read_file
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.errors import KaleidoscopeError
from kaleidoscope.job import Job
from kaleidoscope.outcome import Handover, Outcome
from kaleidoscope.read import Read, load
from kaleidoscope.record import ImageRecord
from kaleidoscope.walk import walk_segment
from kaleidoscope.walk_batch import Traveller, walk_batch


@dataclass(frozen=True, slots=True)
class Passed:
    """One image between two tasks.

    Parameters
    ----------
    record : ImageRecord
        Without pixels.
    handovers : tuple of Handover
        The nodes that other segments go on from.
    outcomes : tuple of Outcome
        Variants that are finished, and whose pixels are the receiver's.
    """

    record: ImageRecord
    handovers: tuple[Handover, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """An image on its way through a segment: its record without pixels, and what is made of it."""

    record: ImageRecord
    outcomes: Iterator[Outcome | Handover]
    #: It could not be read.
    failed: bool = False


def opened(
    job: Job,
    record: ImageRecord,
    wanted: Sequence[str] | None,
    backend: Cv2Backend,
    place: int | None = 0,
    *,
    read: Read = read_file,
) -> Opened:
    """Open an image and begin with the first segment, or do all of them where `place` is None.

    What cannot be opened is an error for every variant.
    """
    key = record.key
    try:
        record, picture = load(record, backend.counts, max_pixels=job.max_pixels, read=read)
    except KaleidoscopeError as error:
        lost = [Outcome(variant, None, (), error=error) for variant in wanted or job.plan.tree.variants]
        return Opened(replace(record, pixels=None), iter(lost), failed=True)
    made = walk_segment(
        job.plan,
        picture,
        place,
        key=key,
        seed=job.seed,
        backend=backend,
        targets=record.targets,
        lineage=record.lineage,
        wanted=None if wanted is None else frozenset(wanted),
    )
    return Opened(replace(record, pixels=None, targets=None), made)


def gone_on(
    job: Job,
    place: int | None,
    handovers: Iterable[Handover],
    key: str,
    wanted: Sequence[str] | None,
    backend: Cv2Backend,
) -> Iterator[Outcome | Handover]:
    """Make what a later segment, None for none, makes of one image, from what was handed over."""
    only = None if wanted is None else frozenset(wanted)
    for handover in handovers:
        children = job.plan.by_name[handover.node].children
        if place is not None and any(child.segment == place for child in children):
            yield from walk_segment(job.plan, handover, place, key=key, seed=job.seed, backend=backend, wanted=only)


def gone_on_together(
    job: Job,
    place: int,
    images: Sequence[Sequence[Passed]],
    wanted: Sequence[Sequence[str] | None],
    counts: Counter[str],
    *,
    encode: bool = False,
) -> list[Passed]:
    """Make what a segment on a GPU makes of some images, those of one frame together.

    Parameters
    ----------
    job : Job
        What is to be made.
    place : int
        The segment.
    images : sequence of sequences of Passed
        Of each image, what every segment that feeds this one has passed on.
    wanted : sequence
        The variants that are wanted of each; None for all.
    counts : Counter
        Is told what was applied; see `TorchBackend`.
    encode : bool
        Encode there what is finished there, as far as the device can.

    Returns
    -------
    list of Passed
        Of each image.

    Raises
    ------
    ResourceError
        If there is no torch.
    """
    from kaleidoscope.backends.torch import TorchBackend, device_here

    travellers, numbers = [], []
    for number, (passed, variants) in enumerate(zip(images, wanted, strict=True)):
        only = None if variants is None else frozenset(variants)
        for handover in (handover for one in passed for handover in one.handovers):
            if any(child.segment == place for child in job.plan.by_name[handover.node].children):
                travellers.append(Traveller(passed[0].record.key, handover, wanted=only))
                numbers.append(number)
    made: list[list[Outcome | Handover]] = [[] for _ in images]
    backend = TorchBackend(device_here(), batch_bytes=job.batch_bytes)
    fetch = partial(backend.finished, encoder=job.encoder) if encode else None
    for which, found in walk_batch(job.plan, travellers, seed=job.seed, backend=backend, segment=place, fetch=fetch):
        made[numbers[which]].append(found)
    counts.update(backend.counts)
    return [Passed(passed[0].record, *_parted(found)) for passed, found in zip(images, made, strict=True)]


def _parted(found: Sequence[Outcome | Handover]) -> tuple[tuple[Handover, ...], tuple[Outcome, ...]]:
    """Return what is handed over, and what is finished."""
    handovers = tuple(one for one in found if isinstance(one, Handover))
    return handovers, tuple(one for one in found if not isinstance(one, Handover))


def kept(found: Iterable[Outcome | Handover]) -> tuple[tuple[Handover, ...], tuple[Outcome, ...]]:
    """Return what a segment made, each the caller's to keep: the pixels of an outcome were only lent."""
    handovers: list[Handover] = []
    outcomes: list[Outcome] = []
    for one in found:
        if isinstance(one, Handover):
            handovers.append(one)
        else:
            outcomes.append(one if one.pixels is None else replace(one, pixels=one.pixels.copy()))
    return tuple(handovers), tuple(outcomes)
