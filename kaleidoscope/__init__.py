"""Kaleidoscope: many images out of few.

>>> import kaleidoscope as ks
>>> from kaleidoscope import ops, samples
>>> views = ks.augment(ks.read_images(samples.folder()), [ops.HorizontalFlip(), ops.Rotate(limit=15)], seed=7)
>>> views.variants
['original', 'hflip', 'hflip-rotate', 'rotate']

Names are loaded when they are first used: ``import kaleidoscope`` itself costs little more than Dask's bag and OpenCV.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kaleidoscope import cluster, errors, labels, ops, samples
    from kaleidoscope.augmented import AugmentedBag, augment
    from kaleidoscope.bag import ImageBag, read_images
    from kaleidoscope.display import ContactSheet
    from kaleidoscope.recipe_files import dump_recipe, load_recipe
    from kaleidoscope.record import ImageRecord
    from kaleidoscope.replay import replay
    from kaleidoscope.report import Report
    from kaleidoscope.tables import read_manifest
    from kaleidoscope.targets import Targets
    from kaleidoscope.writing import WriteRun

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # what is told goes where the user sends it

__all__ = [
    "AugmentedBag",
    "ContactSheet",
    "ImageBag",
    "ImageRecord",
    "Report",
    "Targets",
    "WriteRun",
    "augment",
    "cluster",
    "dump_recipe",
    "errors",
    "labels",
    "load_recipe",
    "ops",
    "read_images",
    "read_manifest",
    "replay",
    "samples",
]

_HOMES = {
    "AugmentedBag": "augmented",
    "ContactSheet": "display",
    "ImageBag": "bag",
    "ImageRecord": "record",
    "Report": "report",
    "Targets": "targets",
    "WriteRun": "writing",
    "augment": "augmented",
    "dump_recipe": "recipe_files",
    "load_recipe": "recipe_files",
    "read_images": "bag",
    "read_manifest": "tables",
    "replay": "replay",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"kaleidoscope.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in __all__:
        return importlib.import_module(f"kaleidoscope.{name}")
    hint = importlib.import_module("kaleidoscope.errors").did_you_mean(name, __all__)
    raise AttributeError(f"module 'kaleidoscope' has no attribute {name!r}.{hint}")


def __dir__() -> list[str]:
    return __all__
