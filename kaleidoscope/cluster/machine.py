"""The workers of this machine, by group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distributed import LocalCluster, Nanny

from kaleidoscope.cluster.groups import GroupCluster
from kaleidoscope.cluster.spec import WorkerGroup
from kaleidoscope.cluster.workers import visible_devices, worker_options


class MachineCluster(GroupCluster, LocalCluster):  # type: ignore[misc]  # as its parent
    """A `distributed.LocalCluster` of groups; ``kaleidoscope.cluster.local`` starts it.

    Parameters
    ----------
    groups, counts, follow
        As `GroupCluster` takes them.
    devices : tuple of str
        This machine's GPUs.
    **kwargs
        As `distributed.LocalCluster` takes them.
    """

    def __init__(
        self, groups: Mapping[str, WorkerGroup], counts: Mapping[str, int], *, devices: tuple[str, ...], **kwargs: Any
    ) -> None:
        self._devices = devices
        super().__init__(groups, counts, n_workers=0, **kwargs)

    def find_place(self, group: WorkerGroup, taken: list[int]) -> tuple[int, dict[str, Any]]:
        """Return the lowest number that no other worker of the group has; there is always one."""
        slot = next(number for number in range(len(taken) + 1) if number not in taken)
        kind, base = self.new_spec["cls"], self.new_spec["options"]
        mine = worker_options(group, visible_devices(self._devices, group.resources.get("GPU", 0), slot))
        env = {**base.get("env", {}), **mine.pop("env", {})}
        options = {**base, **mine, "resources": {**base.get("resources", {}), **group.resources}}
        if issubclass(kind, Nanny):
            options["env"] = env
        return slot, {"cls": kind, "options": options}
