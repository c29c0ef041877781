"""The progress of a run: one line on stderr, if somebody is looking."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich import progress


class Progress:
    """A bar with outputs, outputs per second, the time left, and how many failed.

    Parameters
    ----------
    total_outputs : int
        Outputs to be made.
    enabled : bool, optional
        By default only if stderr is a terminal, or in a notebook.

    Examples
    --------
    >>> with Progress(64, enabled=False) as progress:
    ...     progress.advance(32)
    ...     progress.advance(32, failed=1)
    """

    def __init__(self, total_outputs: int, enabled: bool | None = None) -> None:  # noqa: FBT001 - as rich has it
        self.total_outputs = total_outputs
        self.enabled = somebody_is_looking() if enabled is None else enabled
        self.outputs = 0
        self.failed = 0
        self._started = 0.0
        self._bar: progress.Progress | None = None

    def __enter__(self) -> Self:
        """Show the bar."""
        self._started = time.perf_counter()
        if self.enabled:
            self._bar = _bar()
            self._bar.add_task("", total=self.total_outputs, rate="", failures="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stood, below it a fresh line."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def advance(self, outputs: int, failed: int = 0) -> None:
        """Count `outputs` more as dealt with; `failed` more inputs have lost some of theirs."""
        self.outputs += outputs
        self.failed += failed
        if self._bar is not None:
            rate = self.outputs / max(time.perf_counter() - self._started, 1e-9)
            failures = f"[red]{self.failed:,} inputs failed[/red]" if self.failed else ""
            task = self._bar.task_ids[0]
            self._bar.update(task, advance=outputs, rate=f"{rate:,.0f} outputs/s", failures=failures)


def somebody_is_looking() -> bool:
    """Tell whether stderr is a terminal, or this is a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def _bar() -> progress.Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.BarColumn(bar_width=32),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(elapsed_when_finished=True),
        progress.TextColumn("{task.fields[failures]}"),
        console=Console(stderr=True),
    )
