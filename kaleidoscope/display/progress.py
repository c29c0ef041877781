"""The progress of a run: one line on stderr, if somebody is looking."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from rich import progress
    from rich.status import Status

#: Seconds after which somebody who waits wants to know what for.
_A_WHILE = 1.0


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


class Counting:
    """A line that counts what nobody knows the number of; only where it takes a while.

    Parameters
    ----------
    what : str
        Is counted.
    enabled : bool, optional
        By default only if stderr is a terminal, or in a notebook.

    Examples
    --------
    >>> with Counting("keys listed", enabled=False) as counting:
    ...     counting.advance(1000)
    """

    def __init__(self, what: str, enabled: bool | None = None) -> None:  # noqa: FBT001 - as rich has it
        self.what = what
        self.enabled = somebody_is_looking() if enabled is None else enabled
        self.count = 0
        self._started = 0.0
        self._line: Status | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Show nothing yet."""
        self._started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        if self._line is not None:
            self._line.stop()
            self._line = None

    def advance(self, more: int) -> None:
        """Count so many more, on whatever thread."""
        with self._lock:
            self.count += more
            if self.enabled and self._line is None and time.monotonic() - self._started > _A_WHILE:
                from rich.console import Console

                self._line = Console(stderr=True).status("")
                self._line.start()
            if self._line is not None:
                self._line.update(f"{self.count:,} {self.what}")


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
