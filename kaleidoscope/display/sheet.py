"""The contact sheet: every variant of some images side by side, as one PNG."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kaleidoscope.display.overlay import with_targets
from kaleidoscope.display.thumbnail import placeholder, thumbnail_of
from kaleidoscope.errors import RecipeError
from kaleidoscope.targets import Targets

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw as Draw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

# Lengths in pixels.
_MARGIN, _GAP, _BETWEEN = 24, 12, 28
_KEY_SIZE, _KEY_HEIGHT = 15, 28
_CAPTION_SIZE, _CAPTION_HEIGHT = 11, 28
_NARROWEST = 240

_PAPER, _INK, _SOFT, _LINE, _RED = "#ffffff", "#111827", "#6b7280", "#e5e7eb", "#dc2626"


@dataclass(frozen=True, slots=True)
class ContactSheet:
    """Variants of images side by side. A notebook shows it; `save` writes it.

    Parameters
    ----------
    png : bytes
        The sheet as a PNG file.
    width, height : int
        Its size in pixels.
    images, variants : int
        How many are on it: images, and variants of all of them together.
    errors : tuple of str
        Why some of them could not be made.
    """

    png: bytes = field(repr=False)
    width: int
    height: int
    images: int
    variants: int
    errors: tuple[str, ...] = field(default=(), repr=False)

    def save(self, path: str | Path) -> Path:
        """Write the PNG to `path`, making its folder if need be, and return the path.

        Raises
        ------
        RecipeError
            If the name ends in another format's extension.
        """
        path = Path(path)
        if path.suffix.lower() not in ("", ".png"):
            raise RecipeError(f"a contact sheet is a PNG: expected a name like preview.png, got {path.name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.png)
        return path

    def _repr_png_(self) -> bytes:
        return self.png


class _Variant(NamedTuple):
    caption: str
    pixels: Any
    targets: Targets | None = None


class _Cell(NamedTuple):
    caption: str
    picture: Image
    failed: bool


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[tuple[Any, ...]]]],
    *,
    thumbnail: int = 160,
    columns: int = 8,
) -> ContactSheet:
    """Draw images under each other and each one's variants side by side.

    Parameters
    ----------
    rows : sequence of (key, variants)
        Variants are (caption, pixels) or (caption, pixels, targets): pixels of shape (H, W, C), or None for one that
        failed; targets are drawn over them.
    thumbnail : int
        Longer side of each picture, in pixels.
    columns : int
        Variants in a line; more of them go on in the next.

    Raises
    ------
    RecipeError
        If a number is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> contact_sheet([("cat.jpg", [("original", np.zeros((60, 80, 3), np.uint8)), ("hflip", None)])])
    ContactSheet(width=380, height=224, images=1, variants=2)
    """
    for name, value in (("thumbnail", thumbnail), ("columns", columns)):
        if value < 1:
            raise RecipeError(f"contact_sheet({name}={value!r}): expected a whole number of at least 1")
    images = [(key, _lines([_Variant(*v) for v in variants], thumbnail, columns)) for key, variants in rows]
    widest = max((len(line) for _, lines in images for line in lines), default=0)
    width = 2 * _MARGIN + max(_NARROWEST, widest * (thumbnail + _GAP) - _GAP)
    height = 2 * _MARGIN + sum(_height(lines) for _, lines in images) + _BETWEEN * max(0, len(images) - 1)
    return ContactSheet(
        _png(images, width, height, thumbnail), width, height, len(images), sum(len(v) for _, v in rows)
    )


def _lines(variants: Sequence[_Variant], thumbnail: int, columns: int) -> list[list[_Cell]]:
    made = [(one.caption, None if one.pixels is None else _picture(one, thumbnail)) for one in variants]
    # A failed one is as large as its neighbours, so that it does not push the lines apart.
    size = next((picture.size for _, picture in made if picture is not None), (thumbnail, thumbnail))
    cells = [
        _Cell(caption, placeholder(size) if picture is None else picture, picture is None) for caption, picture in made
    ]
    return [cells[start : start + columns] for start in range(0, len(cells), columns)]


def _picture(variant: _Variant, size: int) -> Image:
    picture = thumbnail_of(variant.pixels, size)
    if variant.targets is None:
        return picture
    height, width, _ = variant.pixels.shape
    return with_targets(picture, variant.targets, width, height)


def _line_height(line: list[_Cell]) -> int:
    return max(cell.picture.height for cell in line)


def _height(lines: list[list[_Cell]]) -> int:
    return _KEY_HEIGHT + sum(_line_height(line) + _CAPTION_HEIGHT for line in lines)


def _png(images: list[tuple[str, list[list[_Cell]]]], width: int, height: int, thumbnail: int) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    key_font, caption_font = (ImageFont.load_default(size=size) for size in (_KEY_SIZE, _CAPTION_SIZE))
    y = _MARGIN
    for i, (key, lines) in enumerate(images):
        if i:
            draw.line((_MARGIN, y - _BETWEEN // 2, width - _MARGIN, y - _BETWEEN // 2), fill=_LINE)
        _text(draw, (_MARGIN, y), key, key_font, _INK, width - 2 * _MARGIN)
        y += _KEY_HEIGHT
        for line in lines:
            y += _line_height(line)
            for column, cell in enumerate(line):
                x = _MARGIN + column * (thumbnail + _GAP)
                top = y - cell.picture.height
                draw.rectangle((x - 1, top - 1, x + cell.picture.width, y), outline=_LINE)
                sheet.paste(cell.picture, (x, top))
                colour = _RED if cell.failed else _SOFT
                _text(draw, (x, y + 6), cell.caption, caption_font, colour, thumbnail)
            y += _CAPTION_HEIGHT
        y += _BETWEEN
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _text(draw: Draw, at: tuple[int, int], text: str, font: Font, colour: str, width: int) -> None:
    draw.text(at, _elided(text, font, width), fill=colour, font=font)


def _drawable(character: str) -> str:
    """Return what Pillow's own font has for a character: it knows ASCII, so accents are dropped, or the code shown.

    Examples
    --------
    >>> _drawable("a"), _drawable("é"), _drawable("水")
    ('a', 'e', 'U+6C34')
    """
    plain = unicodedata.normalize("NFKD", character)[:1]
    if plain.isascii() and plain.isprintable():
        return plain
    return f"U+{ord(character):04X}" if character.isprintable() else "?"


def _elided(text: str, font: Font, width: float) -> str:
    """Return `text`, its middle left out where it is wider than `width` pixels."""
    text = "".join(map(_drawable, text))
    kept = len(text)
    short = text
    while font.getlength(short) > width and kept:
        kept -= 1
        short = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
    return short
