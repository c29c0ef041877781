"""Six photographs to try things on, free to use (``ATTRIBUTION.md`` says whose they are)."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Return the folder that holds the photographs.

    Beside them lie this module and the attribution: list by extension, or read images only.

    Examples
    --------
    >>> sorted(path.name for path in folder().glob("*.jpg"))
    ['astronaut.jpg', 'chelsea.jpg', 'coffee.jpg', 'hubble_deep_field.jpg', 'rocket.jpg']
    """
    return Path(__file__).parent
