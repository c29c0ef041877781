"""The bytes of an object: in one buffer, or in several that are one after the other and need not be put together."""

from __future__ import annotations

from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview
Content = Buffer | Sequence[Buffer]


def pieces_of(content: Content) -> Sequence[Buffer]:
    """Return the pieces of an object; one, where it is whole.

    Examples
    --------
    >>> pieces_of(b"ab"), pieces_of([b"a", b"b"])
    ([b'ab'], [b'a', b'b'])
    """
    return [content] if isinstance(content, Buffer) else content


def whole(content: Content) -> bytes:
    """Return an object's bytes in one.

    Examples
    --------
    >>> whole(b"ab"), whole([b"a", b"b"])
    (b'ab', b'ab')
    """
    return bytes(content) if isinstance(content, Buffer) else b"".join(content)


def size_of(content: Content) -> int:
    """Return how many bytes an object has.

    Examples
    --------
    >>> size_of(b"ab"), size_of([b"a", b"b"])
    (2, 2)
    """
    return len(content) if isinstance(content, Buffer) else sum(map(len, content))
