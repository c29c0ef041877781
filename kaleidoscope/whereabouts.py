"""Where one may write: beside what is read, and what names mean there."""

from __future__ import annotations

import os
from pathlib import Path

from kaleidoscope.errors import RecipeError
from kaleidoscope.storage import Store


def check_outside(root: str, target: Store, what: str, mistaken: str) -> None:
    """Refuse a target that is, or lies in, what is read.

    Raises
    ------
    RecipeError
        Naming both; `what` and `mistaken` say in words what is read and what would happen.
    """
    if not root:
        return
    inside, url = root, target.url
    if target.local and "://" not in root:
        inside, url = os.path.realpath(root), os.path.realpath(url)
    if f"{url.rstrip('/')}/".startswith(f"{inside.rstrip('/')}/"):
        raise RecipeError(
            f"the target {target.url} is, or lies in, {what} {root}: the next listing would take {mistaken}. "
            "Write beside it"
        )


def case_folds(folder: Path) -> bool:
    """Whether the filesystem takes names that differ in case for the same, as far as a look can tell."""
    while not folder.exists():
        folder = folder.parent
    other = Path(str(folder).swapcase())
    return str(other) != str(folder) and other.exists() and other.samefile(folder)
