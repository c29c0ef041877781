"""Where outputs go and what they are called."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from kaleidoscope.codecs import KNOWN_EXTENSIONS
from kaleidoscope.errors import RecipeError
from kaleidoscope.sources import RECORD_FOLDER

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most filesystems allow 255 bytes; what is cut to fewer leaves room for whatever a copy may append.
MAX_COMPONENT = 200
#: Whatever the images are written as: it loses nothing, and holds 16 bits.
MASK_FORMAT = "png"
#: What would make a key ambiguous, or break the expression that `webdataset` finds it with.
_NOT_IN_A_SAMPLE = re.compile(r"[%\x00-\x1f\x7f]")
#: What may be written otherwise in an output's name than in the key, with a slash before the key.
_REWRITTEN = ("//", "/.", "\\", "%", "\0", f"/{RECORD_FOLDER}/")
#: How an image's name ends.
_IMAGES = tuple(f".{extension}" for extension in KNOWN_EXTENSIONS)
#: Keys that are looked at as one text.
_AT_ONCE = 4096
_MASK = re.compile(rf"(?P<output>.*)\.mask(-[A-Za-z0-9_-]+)?\.{MASK_FORMAT}", re.DOTALL)


def output_name(key: str, variant: str, extension: str) -> str:
    """Return ``{folder}/{stem}__{variant}[.{source ext}].{ext}``, which stays inside the target.

    Parameters
    ----------
    key : str
        The input, relative to its root.
    variant : str
        The leaf of the variant tree.
    extension : str
        Of the output's format, without the dot.

    Returns
    -------
    str
        The source's extension stands in it only where it differs from the output's and is that of a known image
        format. A component over 200 bytes ends in a hash of the whole.

    Examples
    --------
    >>> output_name("cat/001.jpg", "hflip-rotate", "jpg")
    'cat/001__hflip-rotate.jpg'
    >>> output_name("cat/001.png", "original", "jpg")
    'cat/001__original.png.jpg'
    >>> output_name("../secret", "original", "npy")
    '%2E%2E/secret__original.npy'
    """
    folder, name = posixpath.split(key)
    stem, source = posixpath.splitext(name)
    source = source.lstrip(".")
    if source.lower() not in KNOWN_EXTENSIONS:
        stem, source = name, ""
    middle = f".{source}" if source and source != extension else ""
    ending = f"__{variant}{middle}.{extension}"
    folders = [_shortened(_inside(part), "") for part in folder.split("/") if part]
    if folders and folders[0] == RECORD_FOLDER:
        folders[0] = folders[0].replace("_", "%5F")  # an output must not lie among what is kept about outputs
    return "/".join([*folders, _shortened(_inside(stem), ending)])


def mask_name(output: str, mask: str) -> str:
    """Return where a mask of an output lies: beside it, ``{output without its extension}.mask[-{name}].png``.

    Examples
    --------
    >>> mask_name("cat/001__hflip.jpg", "mask"), mask_name("cat/001__hflip.png.jpg", "lesion")
    ('cat/001__hflip.mask.png', 'cat/001__hflip.png.mask-lesion.png')
    """
    middle = "mask" if mask == "mask" else f"mask-{mask}"
    folder, name = posixpath.split(output)
    return posixpath.join(folder, _shortened(posixpath.splitext(name)[0], f".{middle}.{MASK_FORMAT}"))


def sample_name(output: str) -> str:
    """Return what an output is called in a tar shard, where its key ends at the first dot of its base name.

    Percent signs, control characters, and those dots are written as URLs write them, so that no two are the same; and
    so is what makes `webdataset` skip a member: two underscores in front.

    Examples
    --------
    >>> sample_name("cat/001__hflip.png.jpg"), sample_name("v1.0/__50%__original.jpg")
    ('cat/001__hflip%2Epng.jpg', 'v1.0/__50%25__original.jpg')
    >>> sample_name("__001__/a__original.jpg")
    '%5F_001__/a__original.jpg'
    """
    key, extension = posixpath.splitext(output)
    folder, base = posixpath.split(_NOT_IN_A_SAMPLE.sub(_percent, key))
    base = _shortened(base.replace(".", "%2E"), "")
    name = posixpath.join(folder, base) + extension
    return "%5F" + name[1:] if name.startswith("__") else name


def _percent(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


def masked(name: str) -> str | None:
    """Return the name, without its extension, of the output that a file is a mask of; None if it is none.

    Examples
    --------
    >>> masked("cat/001__hflip.png.mask-lesion.png"), masked("cat/001__hflip.png")
    ('cat/001__hflip.png', None)
    """
    found = _MASK.fullmatch(name)
    return found and found["output"]


def _inside(part: str) -> str:
    """Write a path component so that no filesystem takes it for a way out."""
    if part in {".", ".."}:
        return part.replace(".", "%2E")
    return part.replace("\\", "%5C").replace("\0", "%00")


def _shortened(part: str, ending: str) -> str:
    whole = part + ending
    raw = whole.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_COMPONENT:
        return whole
    mark = "-" + blake2b(raw, digest_size=8).hexdigest()
    tail = ending if len(ending) + len(mark) < MAX_COMPONENT // 2 else posixpath.splitext(ending)[1]
    room = MAX_COMPONENT - len(mark) - len(tail)
    kept = part.encode("utf-8", "surrogatepass")[:room].decode("utf-8", "ignore")
    return kept + mark + tail


def folded(name: str) -> str:
    """Return what a case-insensitive filesystem tells names by: composed and decomposed letters are the same, too."""
    return unicodedata.normalize("NFC", name.casefold())


def check_names(keys: NDArray[Any], extension: str, *, case_folds: bool) -> None:
    """Refuse keys whose outputs would overwrite one another.

    Parameters
    ----------
    keys : array of str
        All inputs, each once.
    extension : str
        Of the output's format.
    case_folds : bool
        Whether the target takes ``A.jpg`` and ``a.jpg`` for the same.

    Raises
    ------
    RecipeError
        Naming the two keys.
    """
    if not case_folds and _are_plain(keys):
        return  # a million names need not be made
    seen: dict[str, str] = {}
    for key in keys.tolist():
        name = output_name(key, "original", extension)
        if case_folds:
            name = folded(name)
        if name in seen:
            why = "this target does not tell upper from lower case" if case_folds else "rename one of them"
            raise RecipeError(f"the inputs {seen[name]!r} and {key!r} would have the same outputs: {why}")
        seen[name] = key


def _are_plain(keys: NDArray[Any]) -> bool:
    """Whether all keys are such that different ones have different outputs: nothing in them is rewritten or cut.

    Examples
    --------
    >>> from kaleidoscope.entries import texts
    >>> _are_plain(texts(["a/b.jpg", "a/b.png"])), _are_plain(texts(["a", "a.jpg"])), _are_plain(texts(["a//b.jpg"]))
    (True, False, False)
    """
    for first in range(0, len(keys), _AT_ONCE):
        several = keys[first : first + _AT_ONCE].tolist()
        text = "/" + "\n/".join(several)
        most = MAX_COMPONENT - 40 if text.isascii() else MAX_COMPONENT // 4 - 10  # room for the ending, in bytes
        if text.count("\n") >= len(several) or any(part in text for part in _REWRITTEN):
            return False
        if max(map(len, several)) > most or not all(key.endswith(_IMAGES) for key in text.lower().split("\n")):
            return False
    return True
