"""What the policies of automatic augmentation draw from: operations, how strong each may be, and learned pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaleidoscope.record import Frame

#: Operations that go both ways, by a sign that is drawn.
SIGNED = frozenset(
    ["ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness"]
)
#: Operations whose magnitude means nothing.
_PLAIN = frozenset(["Identity", "AutoContrast", "Equalize", "Invert"])


@dataclass(frozen=True, slots=True)
class Space:
    """Operations, and the magnitude of each at full strength.

    Parameters
    ----------
    names : tuple of str
        Of the operations, each as likely as any other.
    shear : float
        Tangent of the angle.
    translate : float
        Pixels, or with `of_side` a fraction of the width or height.
    of_side : bool
    rotate : float
        Degrees.
    enhance : float
        How far the factor of brightness, colour, contrast or sharpness is from 1.
    bits : (int, int)
        That `Posterize` keeps at no strength, and at full strength.
    """

    names: tuple[str, ...]
    shear: float = 0.3
    translate: float = 150 / 331
    of_side: bool = True
    rotate: float = 30.0
    enhance: float = 0.9
    bits: tuple[int, int] = (8, 4)

    def magnitude(self, name: str, strength: float, frame: Frame) -> float:
        """Return the magnitude of an operation at a strength from 0 to 1, without its sign.

        Examples
        --------
        >>> from kaleidoscope.record import Frame
        >>> frame = Frame(100, 331, 3, "uint8")
        >>> [RAND.magnitude(name, 0.5, frame) for name in ("Rotate", "TranslateX", "Posterize", "Solarize", "Equalize")]
        [15.0, 75.0, 6, 0.5, 0.0]
        """
        if name in _PLAIN:
            return 0.0
        if name == "Posterize":
            least, most = self.bits
            return round(least + (most - least) * strength)
        if name == "Solarize":
            return 1.0 - strength
        if name in ("ShearX", "ShearY"):
            return self.shear * strength
        if name in ("TranslateX", "TranslateY"):
            side = frame.width if name == "TranslateX" else frame.height
            return self.translate * strength * (side if self.of_side else 1)
        return (self.rotate if name == "Rotate" else self.enhance) * strength


_GEOMETRY = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_ENHANCING = ("Brightness", "Color", "Contrast", "Sharpness")
_TONES = ("Posterize", "Solarize", "AutoContrast", "Equalize")

#: Cubuk et al., 2020, with the ranges of AutoAugment.
RAND = Space(("Identity", *_GEOMETRY, *_ENHANCING, *_TONES))
#: Mueller and Hutter, 2021, "wide".
WIDE = Space(RAND.names, shear=0.99, translate=32.0, of_side=False, rotate=135.0, enhance=0.99, bits=(8, 2))
#: Cubuk et al., 2019.
AUTO = Space((*_GEOMETRY, *_ENHANCING, *_TONES, "Invert"))
#: Hendrycks et al., 2020, without geometry; and without what overlaps with the corruptions of ImageNet-C.
MIX = Space((*_TONES, *_ENHANCING), bits=(4, 0))
MIX_PARTLY = Space(_TONES, bits=(4, 0))

#: An operation, how likely it is applied, and its strength in ninths.
Chance = tuple[str, float, int]


def _pairs(text: str) -> tuple[tuple[Chance, ...], ...]:
    """Read sub-policies, one a line: each operation as its name, tenths of a chance, and ninths of strength."""
    read = []
    for line in text.strip().splitlines():
        words = line.split()
        chances = zip(words[::3], words[1::3], words[2::3], strict=True)
        read.append(tuple((name, int(tenths) / 10, int(ninths)) for name, tenths, ninths in chances))
    return tuple(read)


#: The sub-policies that AutoAugment found, of which one is drawn (tables 7 to 9 of the paper's appendix).
LEARNED = {
    "imagenet": _pairs("""
        Posterize 4 8 Rotate 6 9
        Solarize 6 5 AutoContrast 6 0
        Equalize 8 0 Equalize 6 0
        Posterize 6 7 Posterize 6 6
        Equalize 4 0 Solarize 2 4
        Equalize 4 0 Rotate 8 8
        Solarize 6 3 Equalize 6 0
        Posterize 8 5 Equalize 10 0
        Rotate 2 3 Solarize 6 8
        Equalize 6 0 Posterize 4 6
        Rotate 8 8 Color 4 0
        Rotate 4 9 Equalize 6 0
        Equalize 0 0 Equalize 8 0
        Invert 6 0 Equalize 10 0
        Color 6 4 Contrast 10 8
        Rotate 8 8 Color 10 2
        Color 8 8 Solarize 8 7
        Sharpness 4 7 Invert 6 0
        ShearX 6 5 Equalize 10 0
        Color 4 0 Equalize 6 0
        Equalize 4 0 Solarize 2 4
        Solarize 6 5 AutoContrast 6 0
        Invert 6 0 Equalize 10 0
        Color 6 4 Contrast 10 8
        Equalize 8 0 Equalize 6 0
    """),
    "cifar10": _pairs("""
        Invert 1 0 Contrast 2 6
        Rotate 7 2 TranslateX 3 9
        Sharpness 8 1 Sharpness 9 3
        ShearY 5 8 TranslateY 7 9
        AutoContrast 5 0 Equalize 9 0
        ShearY 2 7 Posterize 3 7
        Color 4 3 Brightness 6 7
        Sharpness 3 9 Brightness 7 9
        Equalize 6 0 Equalize 5 0
        Contrast 6 7 Sharpness 6 5
        Color 7 7 TranslateX 5 8
        Equalize 3 0 AutoContrast 4 0
        TranslateY 4 3 Sharpness 2 6
        Brightness 9 6 Color 2 8
        Solarize 5 2 Invert 0 0
        Equalize 2 0 AutoContrast 6 0
        Equalize 2 0 Equalize 6 0
        Color 9 9 Equalize 6 0
        AutoContrast 8 0 Solarize 2 8
        Brightness 1 3 Color 7 0
        Solarize 4 5 AutoContrast 9 0
        TranslateY 9 9 TranslateY 7 9
        AutoContrast 9 0 Solarize 8 3
        Equalize 8 0 Invert 1 0
        TranslateY 7 9 AutoContrast 9 0
    """),
    "svhn": _pairs("""
        ShearX 9 4 Invert 2 0
        ShearY 9 8 Invert 7 0
        Equalize 6 0 Solarize 6 6
        Invert 9 0 Equalize 6 0
        Equalize 6 0 Rotate 9 3
        ShearX 9 4 AutoContrast 8 0
        ShearY 9 8 Invert 4 0
        ShearY 9 5 Solarize 2 6
        Invert 9 0 AutoContrast 8 0
        Equalize 6 0 Rotate 9 3
        ShearX 9 4 Solarize 3 3
        ShearY 8 8 Invert 7 0
        Equalize 9 0 TranslateY 6 6
        Invert 9 0 Equalize 6 0
        Contrast 3 3 Rotate 8 4
        Invert 8 0 TranslateY 0 2
        ShearY 7 6 Solarize 4 8
        Invert 6 0 Rotate 8 4
        ShearY 3 7 TranslateX 9 3
        ShearX 1 6 Invert 6 0
        Solarize 7 2 TranslateY 6 7
        ShearY 8 4 Invert 8 0
        ShearX 7 9 TranslateY 8 3
        ShearY 8 5 AutoContrast 7 0
        ShearX 7 2 Invert 1 0
    """),
}
