"""Following the load: a loop that looks at the scheduler and has a cluster grow and shrink by group."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Protocol, cast

import dask.config
from dask.utils import parse_timedelta

from kaleidoscope.cluster.scaling import Offer, Running, State, idle_beyond, wanted
from kaleidoscope.errors import RecipeError, did_you_mean

logger = logging.getLogger(__name__)

Bounds = Mapping[str, tuple[int, int]]


class Scalable(Protocol):
    """What a cluster has to do for `Adapting`."""

    @property
    def offers(self) -> Mapping[str, Offer]:
        """What a worker of each group brings."""

    async def look(self) -> State:
        """Ask the scheduler."""

    def group_of(self, worker: Running) -> str | None:
        """Return the group of a worker, or None if it is none of the cluster's."""

    def asked_for(self, group: str) -> int:
        """Return how many workers of a group there are or are on their way."""

    async def grow(self, counts: Mapping[str, int]) -> None:
        """Have this many workers of these groups, where there are fewer."""

    async def shrink(self, group: str, count: int, idle: list[Running]) -> None:
        """Have `count` workers of a group, or more if more are busy: give up what has not come yet, and these."""


class Adapting:
    """The loop; it begins at once, and ends with `stop`.

    A group grows as soon as tasks wait for it. It shrinks once it has been too large at `patience` looks in a row, and
    only by workers that have nothing to do.

    Parameters
    ----------
    cluster : Scalable
        What to scale.
    bounds : mapping of str to (int, int)
        The least and most workers of each group; other groups are left alone.
    interval : str or number, optional
        Between two looks; seconds, or with a unit. By default ``distributed.adaptive.interval``.
    patience : int, optional
        By default ``distributed.adaptive.wait-count``.
    """

    def __init__(
        self,
        cluster: Scalable,
        bounds: Bounds,
        *,
        interval: str | float | None = None,
        patience: int | None = None,
    ) -> None:
        self.bounds = check_bounds(bounds, cluster.offers)
        self.interval = parse_timedelta(interval or dask.config.get("distributed.adaptive.interval"))
        self.patience = patience or dask.config.get("distributed.adaptive.wait-count")
        self._cluster = cluster
        self._too_many = dict.fromkeys(self.bounds, 0)
        self._over = False
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.ensure_future(self._follow())

    def stop(self) -> None:
        """End the loop; the workers stay as they are, and a change that has begun is finished."""
        self._over = True
        self._loop.call_soon_threadsafe(self._wake.set)

    async def _follow(self) -> None:
        while not self._over:
            try:
                await self.step()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is logged
                # A scheduler that is busy or away for a moment is no reason to stop following it.
                logger.warning("looking at the scheduler failed, trying again in %g s: %r", self.interval, error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self.interval)

    async def step(self) -> None:
        """Look once, and do what follows."""
        state = await self._cluster.look()
        if self._over:
            return
        counts = wanted(state.waiting, self._cluster.offers, self.bounds)
        there = {group: self._cluster.asked_for(group) for group in counts}
        if more := {group: count for group, count in counts.items() if count > there[group]}:
            await self._cluster.grow(more)
        for group, count in counts.items():
            self._too_many[group] = self._too_many[group] + 1 if count < there[group] else 0
            if self._too_many[group] >= self.patience and not self._over:
                mine = [worker for worker in state.workers if self._cluster.group_of(worker) == group]
                await self._cluster.shrink(group, count, idle_beyond(mine, count))


def check_bounds(bounds: Mapping[str, Any], groups: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return the bounds, if they are such.

    Raises
    ------
    RecipeError
        If a group is unknown, or its bounds are no pair of whole numbers, the first no larger than the second.

    Examples
    --------
    >>> check_bounds({"cpu": [0, 4]}, {"cpu": None})
    {'cpu': (0, 4)}
    """
    if not bounds:
        raise RecipeError(f"adapt(): expected bounds of at least one group, such as {next(iter(groups))}=(0, 4)")
    for name, pair in bounds.items():
        check_group(name, groups)
        whole = isinstance(pair, tuple | list) and len(pair) == 2 and all(type(end) is int for end in pair)
        if not whole or not 0 <= pair[0] <= pair[1]:
            raise RecipeError(f"adapt({name}={pair!r}): expected the least and the most workers, such as (0, 4)")
    return {name: (pair[0], pair[1]) for name, pair in bounds.items()}


def check_group(name: str, groups: Mapping[str, Any]) -> None:
    """Refuse a group that is not there.

    Raises
    ------
    RecipeError
        With the names of those that are.
    """
    if name not in groups:
        known = ", ".join(groups)
        raise RecipeError(f"there is no group of workers {name!r}.{did_you_mean(name, groups)} Groups: {known}")


class AdaptsByGroup:
    """Gives a cluster of Dask's `adapt` by group; a `Scalable` that is one of distributed's, too."""

    #: Dask's own name for what follows the load, which ends with the cluster.
    _adaptive: Any

    def adapt(self, *, interval: Any = None, patience: int | None = None, **bounds: tuple[int, int]) -> Any:
        """Follow the load, by group: ``cluster.adapt(cpu=(1, 20), gpu=(0, 4))``. Groups that are not named stay.

        Parameters
        ----------
        interval : str or number, optional
            Between two looks; by default ``distributed.adaptive.interval``.
        patience : int, optional
            Looks in a row at which a group has to be too large before it shrinks; ``distributed.adaptive.wait-count``.
        **bounds
            The least and the most workers of a group.

        Returns
        -------
        Adapting
            Its ``stop()`` ends it, as does `scale`.

        Raises
        ------
        RecipeError
            If a group is unknown, or its bounds are none.
        """
        return cast("Any", self).sync(self._adapt_groups, bounds, interval=interval, patience=patience)

    async def _before_adapting(self) -> None:
        """Do what has to be done before the load is followed: nothing."""

    async def _adapt_groups(self, bounds: Mapping[str, tuple[int, int]], **options: Any) -> Adapting:
        await self._before_adapting()
        adapting = Adapting(cast("Scalable", self), bounds, **options)
        self._stop_adapting()
        self._adaptive = adapting
        return adapting

    def _stop_adapting(self) -> None:
        if isinstance(self._adaptive, Adapting):
            self._adaptive.stop()
            self._adaptive = None
