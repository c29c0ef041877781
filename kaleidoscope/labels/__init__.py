"""Labels: where the targets of a dataset come from. A file for each format.

`kaleidoscope.read_images` takes them as ``labels=``; what has no format, such as a table, goes to ``with_targets``.
"""

from kaleidoscope.labels.masks import Masks
from kaleidoscope.labels.webdataset import WebDataset

__all__ = ["Masks", "WebDataset"]
