"""What a user may set, in Dask's configuration under ``kaleidoscope``: names, defaults, and what each means.

Settings are read where a run is made, and travel with it: a worker's own configuration changes nothing. None of them
has any influence on the pixels of an output, so they are no part of its id.

>>> with dask.config.set({"kaleidoscope.lease-expires-after": "5 minutes"}):
...     value("lease-expires-after")
300.0
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dask.config
from dask.utils import parse_bytes, parse_timedelta

from kaleidoscope.errors import RecipeError, did_you_mean

NAMESPACE = "kaleidoscope"


@dataclass(frozen=True, slots=True)
class Setting:
    """One of them.

    Parameters
    ----------
    name : str
        Under ``kaleidoscope``; as everywhere in Dask's configuration ``-`` and ``_`` are the same.
    default : object
        As somebody would write it in YAML.
    expected : str
        What it takes, in words.
    meaning : str
        What it does, for the page about settings.
    read : callable
        Turns what was written into what is used; raises whatever it likes if it cannot.
    """

    name: str
    default: object
    expected: str
    meaning: str
    read: Callable[[Any], Any] = field(repr=False)

    def value_of(self, given: object) -> Any:
        """Return what is used where this was written.

        Raises
        ------
        RecipeError
            If it makes no sense.
        """
        try:
            return self.read(given)
        except Exception as error:  # Dask's parsers raise KeyError, IndexError, AttributeError, ...
            raise RecipeError(
                f"the setting {NAMESPACE}.{self.name}: expected {self.expected}, got {given!r}"
            ) from error


def _at_least(least: float, number: Any) -> Any:
    if isinstance(number, bool) or not number >= least:  # NaN compares false
        raise ValueError(number)
    return number


def _whole(given: Any) -> int:
    if type(given) is not int:
        raise TypeError(given)
    return int(_at_least(1, given))


def _bytes(given: Any) -> int:
    return int(_at_least(1, given if isinstance(given, bool) else parse_bytes(given)))


def _seconds(given: Any) -> float:
    return float(_at_least(30, given if isinstance(given, bool) else parse_timedelta(given)))


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(given: Any) -> str:
        if given not in words:
            raise ValueError(given)
        return str(given)

    return read


def _text(given: Any) -> str:
    if not isinstance(given, str) or not given:
        raise TypeError(given)
    return given


def _yes_or_no(given: Any) -> bool:
    if not isinstance(given, bool):
        raise TypeError(given)
    return given


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda given: None if given is None else read(given)


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "max-pixels",
            2**28,  # 268 megapixels: 0.8 GB as 8-bit RGB. A file of a few kilobytes can claim more.
            "a whole number of pixels of at least 1, or null for no limit",
            "The most pixels (width times height) of an image that is decoded; a larger one fails. `null`: no limit of "
            "ours. OpenCV's own, 2**30, is raised by `OPENCV_IO_MAX_IMAGE_PIXELS` in the environment of each process.",
            _or_none(_whole),
        ),
        Setting(
            "partition-bytes",
            "128 MiB",
            "bytes such as '128 MiB'",
            "The most bytes of pixels that one partition of a bag of variants comes to, at least one image.",
            _bytes,
        ),
        Setting(
            "device-batch-bytes",
            "64 MiB",
            "bytes such as '64 MiB'",
            "The most bytes of pixels that a batch on a GPU starts with, at least one image; its variants take a small "
            "multiple of it there. Halved by itself where memory does not suffice.",
            _bytes,
        ),
        Setting(
            "writes-at-once",
            16,
            "a whole number of at least 1",
            "How many outputs a task may have on their way to a bucket while it makes more; on disk it waits for each.",
            _whole,
        ),
        Setting(
            "write-bytes",
            "64 MiB",
            "bytes such as '64 MiB'",
            "The most bytes of outputs that a task may have on their way to a bucket, at least one output or shard.",
            _bytes,
        ),
        Setting(
            "reads-at-once",
            8,
            "a whole number of at least 1",
            "How many images a task may fetch from a bucket before it needs them; from disk it reads each in its turn.",
            _whole,
        ),
        Setting(
            "read-bytes",
            "64 MiB",
            "bytes such as '64 MiB'",
            "The most bytes of images that a task may fetch from a bucket before it needs them, at least one image.",
            _bytes,
        ),
        Setting(
            "object-store",
            "auto",
            "'auto', 'obstore' or 'fsspec'",
            "What gets and puts objects in S3: `obstore` (the extra `fast`), `fsspec` (which is s3fs there), or "
            "`auto`: obstore where it is installed, else s3fs; s3fs always where obstore does not know a storage "
            "option. Each worker reads it for itself.",
            _one_of("auto", "obstore", "fsspec"),
        ),
        Setting(
            "store-tries",
            8,
            "a whole number of at least 1",
            "How often a request to a store is tried: again after 429, 5xx, time-outs and broken connections, with "
            "longer and longer waits; never after 403 and 404. Each worker reads it for itself.",
            _whole,
        ),
        Setting(
            "max-member-bytes",
            "1 GiB",
            "bytes such as '1 GiB'",
            "The most bytes that a file in an archive may have, unpacked; a larger one fails. A few kilobytes can "
            "claim any number. Each worker reads it for itself.",
            _bytes,
        ),
        Setting(
            "unpacked-bytes",
            "8 GiB",
            "bytes such as '8 GiB'",
            "The most disk, in the folder for temporary files, that unpacked `.tar.gz` files may take in each process "
            "that reads them; a larger one is refused. Each worker reads it for itself.",
            _bytes,
        ),
        Setting(
            "lease-expires-after",
            "2 minutes",
            "a time of at least 30 seconds such as '2 minutes'",
            "How long a run may give no sign of life before another one may take its target over. Raise it if a single "
            "output may take longer to make.",
            _seconds,
        ),
        Setting(
            "prices",
            None,
            "the path of a table such as `kaleidoscope/prices.toml`, or null",
            "The prices of an object store that `estimate` reckons with. `null`: those in the package, of the day that "
            "the estimate names.",
            _or_none(_text),
        ),
        Setting(
            "progress",
            None,
            "true, false, or null",
            "Whether a write shows a progress bar on stderr, and a long listing a count. `null`: in a terminal and "
            "in a notebook.",
            _or_none(_yes_or_no),
        ),
    )
}

#: What is used where nothing was set, by name.
DEFAULTS: Mapping[str, Any] = {name: setting.value_of(setting.default) for name, setting in SETTINGS.items()}


def value(name: str) -> Any:
    """Return what a setting is now.

    All of them are looked at, so that a mistake in one shows at once and not in the run that first needs it.

    Raises
    ------
    RecipeError
        If some setting has a value that makes no sense, or a name that is none.
    """
    given = {_known(each): written for each, written in _written()}
    values = {each: SETTINGS[each].value_of(written) for each, written in given.items()}
    return values.get(name, DEFAULTS[name])


def changed() -> dict[str, object]:
    """Return what was set otherwise than by default, as it was written; names and values that are wrong, too."""
    found = {}
    for name, written in _written():
        try:
            if SETTINGS[name].value_of(written) == DEFAULTS[name]:
                continue
        except (KeyError, RecipeError):
            pass  # what is wrong is what a bug report should show
        found[name] = written
    return found


def _written() -> Iterator[tuple[str, object]]:
    """Yield what Dask's configuration has under our name, flat, with ``-`` for ``_``."""
    given = dask.config.get(NAMESPACE, default=None)
    if given is None:  # an empty section in YAML
        return
    if not isinstance(given, Mapping):
        raise RecipeError(f"the setting {NAMESPACE}: expected names and values under it, got {given!r}")
    yield from _flat("", given)


def _flat(above: str, given: Mapping[Any, object]) -> Iterator[tuple[str, object]]:
    for name, written in given.items():
        full = above + str(name).replace("_", "-")
        if isinstance(written, Mapping) and full not in SETTINGS:
            yield from _flat(f"{full}.", written)
        else:
            yield full, written


def _known(name: str) -> str:
    if name not in SETTINGS:
        hint = did_you_mean(name, SETTINGS) or f" There are {', '.join(SETTINGS)}."
        raise RecipeError(f"there is no setting {NAMESPACE}.{name}.{hint}")
    return name
