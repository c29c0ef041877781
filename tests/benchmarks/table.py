"""From the runs of all rounds to one table: medians, and medians of the ratios within a round.

A ratio of two medians would compare a quiet minute with a busy one; two neighbours of the same round share theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from contenders import CEILING, CONTENDERS, ONE_THREAD, OURS, Contender, pip_line
from race import Run

Rounds = Mapping[str, Sequence[Run]]
HEADER = (
    "| | outputs/s | once up | start, s | of the ceiling | Kaleidoscope ÷ it | once up | MiB | KB each |",
    "| --- " + "| ---: " * 8 + "|",
)


def rate(run: Run) -> float:
    """Return outputs a second, the start of pool or cluster included."""
    return run.outputs / run.seconds


def rate_up(run: Run) -> float:
    """Return outputs a second from when the pool or cluster is there."""
    return run.outputs / (run.seconds - run.start)


def ratio(over: Sequence[Run], under: Sequence[Run], of=rate) -> float | None:
    """Return the median over the rounds of how many times as fast `over` was as `under`; None if either failed."""
    pairs = [(a, b) for a, b in zip(over, under, strict=True) if not (a.error or b.error)]
    return median(of(a) / of(b) for a, b in pairs) if pairs else None


def row(contender: Contender, rounds: Rounds) -> str:
    """Return a contender's line of the table."""
    if contender.key not in rounds:
        return f"| {contender.title} | not installed: `{pip_line(contender)}` |" + " |" * 7
    runs = [run for run in rounds[contender.key] if not run.error]
    if not runs:
        reason = rounds[contender.key][0].error.splitlines()[-1]
        return f"| {contender.title} | failed: {reason} |" + " |" * 7

    def middle(of, digits: int = 0) -> str:
        return f"{median(map(of, runs)):,.{digits}f}"

    def against(over: Sequence[Run] | None, under: Sequence[Run] | None, of=rate) -> str:
        found = ratio(over, under, of) if over and under else None
        return "" if found is None else f"{found:.2f}"

    mine, ours, ceiling = rounds[contender.key], rounds.get(OURS), rounds.get(CEILING)
    failures = len(rounds[contender.key]) - len(runs)
    cells = [
        contender.title + (f" ({failures} of {len(mine)} rounds failed)" if failures else ""),
        middle(rate),
        middle(rate_up),
        middle(lambda run: run.start, 1),
        against(mine, ceiling),
        against(ours, mine),
        against(ours, mine, rate_up),
        middle(lambda run: run.memory / 2**20),
        middle(lambda run: run.bytes / run.outputs / 1000, 1),
    ]
    return f"| {' | '.join(cells)} |"


def table(job: str, rounds: Rounds, wanted: Sequence[Contender] = CONTENDERS) -> str:
    """Return the Markdown table of a job, and below it what two threads are to one."""
    lines = [*HEADER, *(row(contender, rounds) for contender in wanted if job in contender.jobs)]
    if OURS in rounds and ONE_THREAD in rounds:
        scaling = ratio(rounds[OURS], rounds[ONE_THREAD])
        if scaling is not None:
            lines += ["", f"Kaleidoscope, all threads to one: {scaling:.2f}."]
    return "\n".join(lines)


def busy(rounds: Rounds) -> str:
    """Return how much else the machine had to do, which the contenders of a round need not have shared evenly."""
    found = [run.busy for runs in rounds.values() for run in runs if not run.error] or [0.0]
    return (
        f"Before each run something else took {median(found):.0f}% of the machine (median; at most {max(found):.0f}%)"
    )


def versions(rounds: Rounds) -> str:
    """Return the versions of what took part."""
    found = {pair for runs in rounds.values() for run in runs for pair in (run.versions or {}).items()}
    return ", ".join(f"{package} {number}" for package, number in sorted(found))
