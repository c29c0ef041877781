"""Random streams: one per (seed, key, node), and nothing else enters."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.random import Generator, Philox


def stream(seed: int, key: str, node: str) -> Generator:
    """Return the stream of draws that belongs to one image at one node of the variant tree.

    The three words are hashed (BLAKE2b, 128 bits, each with its length before it so that no two triples run
    together) into the key of a Philox counter generator, whose streams are independent for different keys
    (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3").

    Parameters
    ----------
    seed : int
        The run's seed.
    key : str
        The image, relative to its root.
    node : str
        The path of short names, e.g. ``hflip-rotate``.

    Returns
    -------
    numpy.random.Generator

    Examples
    --------
    >>> float(stream(7, "cat.jpg", "rotate").uniform()) == float(stream(7, "cat.jpg", "rotate").uniform())
    True
    >>> float(stream(7, "cat.jpg", "rotate").uniform()) == float(stream(8, "cat.jpg", "rotate").uniform())
    False
    """
    digest = blake2b(digest_size=16)
    for word in (str(seed), key, node):
        raw = word.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return Generator(Philox(key=np.frombuffer(digest.digest(), dtype="<u8")))
