"""What is to be made: everything that an output's bytes depend on, and the ids that stand for it."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from dask.base import tokenize

from kaleidoscope.codecs import MAX_PIXELS, Encoder
from kaleidoscope.layouts import Layout
from kaleidoscope.plan import Plan
from kaleidoscope.randomness import stream
from kaleidoscope.recipe import canonical, to_spec
from kaleidoscope.settings import DEFAULTS

OnError = Literal["record", "raise"]

#: So many times as much of both where a block's outputs are a shard: one of 128 would hold a few megabytes.
_LARGER_IN_SHARDS = 8
#: Outputs a block is cut to, by what encoding one of them costs: an eighth of a second of work or so. No more images
#: than these: where each has few variants, decoding it is the work, and a small dataset has to keep all cores busy.
_IMAGES_PER_BLOCK = 16
_OUTPUTS_PER_BLOCK = {"jpg": 128, "npy": 128, "tiff": 64, "png": 16, "webp": 16}


def digest(value: object, size: int = 16) -> str:
    """Return a hash of JSON values, `size` bytes as hexadecimal digits."""
    return blake2b(canonical(value).encode(), digest_size=size).hexdigest()


@dataclass(frozen=True)
class Job:
    """A recipe, its seed and its encoder.

    Parameters
    ----------
    plan : Plan
        The variant tree, planned.
    seed : int
        The run's seed.
    encoder : Encoder
        How outputs are written, where they are.
    on_error : str
        ``record``: an image that fails is rows in the manifest; ``raise``: it ends the run.
    picks : int, optional
        Only so many variants of each image, drawn for it.
    only : tuple of str, optional
        Only these variants of each image, in tree order.
    max_pixels : int, optional
        The most pixels of an image that is decoded; None for no limit. What fails by it is made once it is raised: no
        part of any id.
    layout : Layout
        How the outputs lie in the target: no part of any id.
    batch_bytes : int
        The most bytes of pixels that go to a GPU together: no part of any id.
    """

    plan: Plan
    seed: int
    encoder: Encoder = Encoder("jpg")  # noqa: RUF009 - frozen: nothing can change it
    on_error: OnError = "record"
    picks: int | None = None
    only: tuple[str, ...] | None = None
    max_pixels: int | None = MAX_PIXELS
    layout: Layout = Layout()  # noqa: RUF009 - frozen, as above
    batch_bytes: int = DEFAULTS["device-batch-bytes"]

    def wanted(self, key: str) -> tuple[str, ...] | None:
        """Return the variants that were drawn for an image, in tree order; None for all.

        The draw is the image's own: a larger number of picks has those of a smaller one among them.
        """
        variants = self.plan.tree.variants
        if self.only is not None:
            return self.only
        if self.picks is None or self.picks >= len(variants):
            return None
        return drawn(self.seed, key, variants, self.picks)

    @property
    def device(self) -> str:
        """The kind of device that makes them."""
        return self.plan.device

    @property
    def per_image(self) -> int:
        """How many outputs each image has."""
        if self.only is not None:
            return len(self.only)
        return min(len(self.plan.tree), self.picks or len(self.plan.tree))

    @cached_property
    def leaf_ids(self) -> dict[str, str]:
        """Variant to ``recipe_id``: a hash of its own chain from root to leaf, seed, encoder and device."""
        common = [self.seed, self.encoder.spec(), self.device]
        chains: dict[str, list[Any]] = {}
        ids = {}
        for planned in self.plan.root.below():
            node = planned.node
            before = chains[node.parent.name] if node.parent else []
            chains[node.name] = [*before, [node.name, planned.spec]] if node.parent else []
            if node.leaf:
                ids[node.name] = digest([chains[node.name], *common])
        return ids

    @property
    def block_images(self) -> int:
        """How many images a block has: from the number of variants, the format and the layout only."""
        times = _LARGER_IN_SHARDS if self.layout.sharded else 1
        outputs = times * _OUTPUTS_PER_BLOCK[self.encoder.format]
        return min(max(1, outputs // self.per_image), times * _IMAGES_PER_BLOCK)

    def __dask_tokenize__(self) -> object:
        """Name it for Dask by what it says, not by its objects; ops from elsewhere by their code, which may change."""
        kinds = {type(node.op) for node in self.plan.tree.nodes if node.op is not None}
        foreign = sorted(tokenize(kind) for kind in kinds if not kind.__module__.startswith("kaleidoscope."))
        return (canonical(self.spec()), self.on_error, self.picks, self.only, self.max_pixels, foreign)

    def spec(self) -> dict[str, Any]:
        """Return what the run record says about it, as JSON values."""
        return {
            "recipe": to_spec(self.plan.tree.recipe),
            "seed": self.seed,
            "encoder": self.encoder.spec(),
            "device": self.device,
            "layout": self.layout.name,
        }


def drawn(seed: int, key: str, variants: Sequence[str], picks: int) -> tuple[str, ...]:
    """Return so many variants drawn for an image, in the order of all of them."""
    order = stream(seed, key, "*sample*").permutation(len(variants))
    return tuple(variants[place] for place in sorted(order[:picks]))


def leaves_digest(leaf_ids: Mapping[str, str], variants: Iterable[str]) -> str:
    """Return the short name of a set of variants."""
    return digest(sorted(leaf_ids[variant] for variant in variants), size=4)


@cache
def environment(device: str = "cpu") -> str:
    """Return what else the bytes depend on: the versions of what makes them, and the kind of processor."""
    packages = ["kaleidoscope", "numpy", "opencv-python", "simplejpeg", "isal"]
    versions = [f"{package} {version(package)}" for package in packages]
    if device != "cpu":
        versions.append(f"torch {_version_here('torch')} on a {device}")
    return ", ".join([*versions, f"python {platform.python_version()}", platform.machine()])


def _version_here(package: str) -> str:
    """Return a package's version; rows are written on any worker, also where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "elsewhere"
