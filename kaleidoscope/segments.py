"""A tree that is cut, one image at a time: what a segment takes from those before it, and what it passes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

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

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        finished = sum(outcome.pixels.nbytes for outcome in self.outcomes if outcome.pixels is not None)
        return finished + sum(handover.nbytes for handover in self.handovers)


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
    job: Job, place: int, images: Sequence[tuple[str, Iterable[Handover], Sequence[str] | None]]
) -> list[list[Outcome | Handover]]:
    """Make what a segment on a GPU makes of some images: key, what was handed over, and the variants wanted of each.

    What comes of each image is the caller's to keep.

    Raises
    ------
    ResourceError
        If there is no torch.
    """
    from kaleidoscope.backends.torch import TorchBackend, device_here

    travellers, numbers = [], []
    for number, (key, handovers, wanted) in enumerate(images):
        only = None if wanted is None else frozenset(wanted)
        for handover in handovers:
            if any(child.segment == place for child in job.plan.by_name[handover.node].children):
                travellers.append(Traveller(key, handover, wanted=only))
                numbers.append(number)
    made: list[list[Outcome | Handover]] = [[] for _ in images]
    backend = TorchBackend(device_here(), batch_bytes=job.batch_bytes)
    for place_of, found in walk_batch(job.plan, travellers, seed=job.seed, backend=backend, segment=place):
        made[numbers[place_of]].append(found)
    return made


def parted(found: Iterable[Outcome | Handover]) -> tuple[tuple[Handover, ...], tuple[Outcome, ...]]:
    """Return what is handed over, and what is finished."""
    several = list(found)
    handovers = tuple(one for one in several if isinstance(one, Handover))
    return handovers, tuple(one for one in several if not isinstance(one, Handover))


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
