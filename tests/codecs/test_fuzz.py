"""Mutated files, by the thousand, in a process that is watched: it never dies, hangs, or fills the memory."""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="measures memory as POSIX systems do")

FUZZING = Path(__file__).parent / "fuzzing.py"
#: Bytes that one file of a few kilobytes may take.
MOST = 2**30
#: Seconds that one file of a few kilobytes may take, on a machine that does other things, too.
PATIENCE = 30.0
#: Seconds in which the process has to begin.
START = 120.0


@dataclass
class Fuzzed:
    """What became of some cases."""

    came: Counter = field(default_factory=Counter)
    failures: dict = field(default_factory=dict)
    peak: int = 0
    slowest: float = 0.0

    def fail(self, case, name, what):
        """Note a case that must not be, with all that is needed to repeat it."""
        shown = subprocess.run(
            [sys.executable, FUZZING, "show", str(case)], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        self.failures[case] = f"case {case} ({name}) {what}; python {FUZZING.name} show {case} gives {shown[:20_000]}"


def lines_of(process):
    """Return a queue that is filled with what a process prints; None at the end."""
    lines = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(json.loads(line))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def fuzz(folder, count, *, first=0, sabotage=None, most=MOST, patience=None, most_failures=5):
    """Decode so many cases in other processes; one that is killed is followed by the next.

    `patience` is for single ones, by number: seconds where they differ from those of all.
    """
    fuzzed, end = Fuzzed(), first + count
    while first < end and len(fuzzed.failures) < most_failures:
        order = {"first": first, "count": end - first, "most": most, "sabotage": sabotage or {}}
        first = fuzz_in_one_process(fuzzed, folder, order, patience or {})
    return fuzzed


def fuzz_in_one_process(fuzzed, folder, order, patience):
    """Decode cases until the process ends, of itself or by our hand; return the case to go on with."""
    first = order["first"]
    log = folder / f"from-{first}.log"
    command = [sys.executable, FUZZING, json.dumps(order)]
    with log.open("w") as err, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True) as process:
        lines, number, name = lines_of(process), None, ""
        try:
            while True:
                seconds = START if number is None else patience.get(number, PATIENCE)
                try:
                    line = lines.get(timeout=seconds)
                except queue.Empty:
                    process.kill()
                    assert number is not None, "the process did not start"
                    fuzzed.fail(number, name, f"took more than {seconds} seconds")
                    return number + 1
                if line is None:
                    status = process.wait()
                    break
                if "name" in line:
                    number, name = line["case"], line["name"]
                    continue
                fuzzed.came[line["came"] if line["came"] in {"read", "refused"} else "bad"] += 1
                fuzzed.peak, fuzzed.slowest = max(fuzzed.peak, line["peak"]), max(fuzzed.slowest, line["seconds"])
                if line["came"] not in {"read", "refused"}:
                    fuzzed.fail(number, name, line["came"])
                first = number + 1
        finally:
            process.kill()
    if number is None:
        raise AssertionError(f"no case was tried: exit status {status}\n{log.read_text()[-2000:]}")
    if first == number or status:  # it began this one and ended, or broke down behind it
        fuzzed.fail(number, name, f"ended the process with status {status}")
    return number + 1


def check(fuzzed, count):
    figures = f"{dict(fuzzed.came)}, at most {fuzzed.peak:,} bytes and {fuzzed.slowest:.2f} seconds"
    sys.stdout.write(f"{count} cases: {figures}\n")
    assert not fuzzed.failures, "\n".join(fuzzed.failures.values())
    assert fuzzed.came["read"] + fuzzed.came["refused"] == count
    assert fuzzed.came["read"] > count / 20, "mutations that are all refused at the door try nothing"
    assert fuzzed.came["refused"] > count / 4


@pytest.fixture(scope="module")
def sabotaged(tmp_path_factory):
    """Seven cases, of which five go wrong, each in its own way."""
    sabotage = {"1": "crash", "2": "hang", "3": "memory", "4": "foreign", "5": "exit"}
    folder = tmp_path_factory.mktemp("sabotaged")
    return fuzz(folder, 7, sabotage=sabotage, most=2**27, patience={2: 1.0}, most_failures=9)


def test_cases_that_crash_hang_or_take_memory_are_found_and_the_others_go_on(sabotaged):
    wanted = {
        1: f"ended the process with status -{signal.SIGSEGV.value}",
        2: "took more than 1.0 seconds",
        3: "took 2",  # hundred million bytes
        4: "raised KeyError('not one of ours')",
        5: "ended the process with status 0",
    }
    assert sabotaged.failures.keys() == wanted.keys()
    for case, words in wanted.items():
        assert words in sabotaged.failures[case]
    assert sabotaged.came["read"] + sabotaged.came["refused"] == 2
    with pytest.raises(AssertionError, match="case 1 "):
        check(sabotaged, 7)


@pytest.fixture
def large():
    """Make this process larger than a case may be."""
    return b"x" * 2**29


def test_the_memory_of_the_process_that_watches_does_not_count(large, tmp_path):
    fuzzed = fuzz(tmp_path, 1, sabotage={"0": "memory"}, most=2**27)
    assert 2**27 < fuzzed.peak < 2**29
    assert "took 2" in fuzzed.failures[0]


def test_a_case_is_the_same_in_every_process(sabotaged):
    command = [sys.executable, FUZZING, "show", "4"]
    again = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(again) > 100
    assert again in sabotaged.failures[4]


def test_500_mutated_files_are_pixels_or_decode_errors(tmp_path):
    check(fuzz(tmp_path, 500), 500)


@pytest.mark.slow
def test_10_000_mutated_files_are_pixels_or_decode_errors(tmp_path):
    check(fuzz(tmp_path, 10_000, first=500), 10_000)
