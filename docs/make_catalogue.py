"""Write docs/catalogue.md and its pictures: ``python docs/make_catalogue.py``, after any change of an op.

The pictures show each op on a photograph with a box, an outline, two keypoints and a mask: where these go with the
pixels, the op moves what is labelled.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from kaleidoscope import ops, samples
from kaleidoscope.backends.cv2 import Cv2Backend
from kaleidoscope.catalogue import Entry, entries, example
from kaleidoscope.display.overlay import with_targets
from kaleidoscope.display.thumbnail import thumbnail_of
from kaleidoscope.ops.base import Op, Part
from kaleidoscope.plan import make_plan
from kaleidoscope.targets import Targets
from kaleidoscope.tree import grow
from kaleidoscope.walk import walk

DOCS = Path(__file__).parent
PICTURES = "catalogue"
#: Pixels: a picture's longer side, and what lies between two.
_SIDE, _GAP = 200, 8
#: Seeds: one that shows something, for ops that by chance do little with the first.
_SEEDS = (3, 5)


def photograph() -> tuple[np.ndarray, Targets]:
    """Return a cat, shape (200, 300, 3), and what is labelled in it: a box, an outline, points, and a mask."""
    with Image.open(samples.folder() / "chelsea.jpg") as image:
        pixels = np.asarray(image.convert("RGB").resize((300, 200), Image.Resampling.LANCZOS))
    eyes = np.zeros(pixels.shape[:2], np.uint8)
    cv2.ellipse(eyes, (113, 77), (24, 20), 0, 0, 360, 1, cv2.FILLED)
    cv2.ellipse(eyes, (211, 87), (17, 18), 0, 0, 360, 1, cv2.FILLED)
    nose = [(158, 161), (186, 161), (172, 177)]
    return pixels, Targets(
        boxes=[(58, 12, 236, 188), (158, 161, 186, 177)],
        classes=["face", "nose"],
        polygons=[None, nose],
        keypoints=[[(114, 76), (211, 87)], []],
        masks={"mask": eyes},
    )


def pictures() -> Iterator[tuple[str, Image.Image]]:
    """Yield the photograph and what each op makes of it, by the name of its file."""
    pixels, targets = photograph()
    yield "photograph", _shown(pixels, targets)
    for entry in entries():
        part = example(entry.name)
        if isinstance(part, Op) and entry.targets:
            yield entry.name, _beside([_made(part, seed) for seed in _SEEDS])


def _made(part: Part, seed: int) -> Image.Image:
    pixels, targets = photograph()
    if isinstance(part, ops.FromFloat):
        pixels = np.float32(pixels / 255)
    (outcome,) = walk(make_plan(grow(part)), pixels, key="cat", seed=seed, backend=Cv2Backend(), targets=targets)
    if outcome.error is not None:
        raise outcome.error
    return _shown(outcome.pixels, outcome.targets)


def _shown(pixels: np.ndarray, targets: Targets) -> Image.Image:
    return with_targets(thumbnail_of(pixels, _SIDE), targets, pixels.shape[1], pixels.shape[0])


def _beside(parts: list[Image.Image]) -> Image.Image:
    sheet = Image.new(
        "RGB", (sum(p.width for p in parts) + 8 * (len(parts) - 1), max(p.height for p in parts)), "white"
    )
    left = 0
    for part in parts:
        sheet.paste(part, (left, 0))
        left += part.width + 8
    return sheet


def text() -> str:
    """Return the page."""
    lines = [
        "# The catalogue",
        "",
        "Every op and combinator, as `kaleidoscope ops` lists them and `kaleidoscope ops NAME` describes each. Names",
        "and parameters are those of Albumentations where the op exists there. No op has a `p`: `Sometimes` draws.",
        "",
        "The pictures show what each makes of this photograph by default, or as is said below them, in two draws.",
        "",
        f"![The photograph]({PICTURES}/photograph.jpg)",
        "",
        "<!-- Written by docs/make_catalogue.py: change the docstrings, and run it again. -->",
    ]
    for family, members in itertools.groupby(entries(), lambda entry: entry.family):
        lines += ["", f"## {family}", ""]
        for entry in members:
            lines += [*_lines(entry), ""]
        lines.pop()
    return "\n".join(lines) + "\n"


def _lines(entry: Entry) -> Iterator[str]:
    yield f"### {entry.name}"
    yield ""
    yield entry.summary
    if entry.targets:
        yield ""
        yield f"![{entry.shown}]({PICTURES}/{entry.name}.jpg)"
        if not entry.shown.endswith("()"):
            yield ""
            yield f"Shown: `{entry.shown}`"
    yield ""
    if entry.parameters:
        yield "| parameter | default |"
        yield "| --- | --- |"
        for name, default in entry.parameters:
            yield f"| `{name}` | {f'`{default}`' if default and default != 'required' else default} |"
    else:
        yield "No parameters."
    if entry.targets:
        yield ""
        yield f"Channels: {entry.channels}. Masks, boxes, polygons and keypoints {entry.targets}."


def main() -> None:
    """Write page and pictures, and delete those of ops that are gone."""
    folder = DOCS / PICTURES
    folder.mkdir(exist_ok=True)
    written = set()
    for name, picture in pictures():
        picture.save(folder / f"{name}.jpg", quality=85)
        written.add(f"{name}.jpg")
    for path in folder.iterdir():
        if path.name not in written:
            path.unlink()
    (DOCS / "catalogue.md").write_text(text(), "utf-8")


if __name__ == "__main__":
    main()
