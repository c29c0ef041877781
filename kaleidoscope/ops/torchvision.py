"""torchvision's transforms as parts: read from their attributes, so that torchvision is not imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kaleidoscope import registry
from kaleidoscope.errors import RecipeError
from kaleidoscope.ops.affine import Affine, Rotate
from kaleidoscope.ops.albumentations import refuse_unknown, sometimes
from kaleidoscope.ops.base import Part
from kaleidoscope.ops.blur import GaussianBlur
from kaleidoscope.ops.choose import OneOf
from kaleidoscope.ops.combine import Sequential
from kaleidoscope.ops.crop import CenterCrop, Pad, RandomCrop
from kaleidoscope.ops.flip import HorizontalFlip, VerticalFlip
from kaleidoscope.ops.noise import GaussNoise
from kaleidoscope.ops.normalize import Normalize
from kaleidoscope.ops.size import Resize

#: The values of ``InterpolationMode``.
_INTERPOLATIONS = {
    "nearest": "nearest",
    "nearest-exact": "nearest",
    "bilinear": "linear",
    "bicubic": "cubic",
    "lanczos": "lanczos4",
    "box": "area",
}
_PADDINGS = {"constant": "constant", "edge": "replicate", "reflect": "reflect_101", "symmetric": "reflect"}


def from_torchvision(transform: object) -> Part:
    """Return the part that does what a transform of ``torchvision.transforms.v2`` does.

    ``Compose`` and ``torch.nn.Sequential`` become `Sequential`: one variant, and no power set. ``RandomApply`` and what
    has a ``p`` become `Sometimes`, ``RandomChoice`` becomes `OneOf`. What only takes pixels from one kind of object to
    another (``ToImage``, ``ToPureTensor``, ``ToDtype(scale=True)`` and their like) is left out: images are arrays here,
    and ``Normalize`` counts in fractions of the largest value. Rotations, shears and shifts are one map and one
    interpolation, as there.

    Draws are ours: the same distributions, other numbers. Pixels are OpenCV's: where ``antialias`` makes an image
    smaller, means of what a pixel covers take the place of a triangular filter.

    Parameters
    ----------
    transform : transform
        Known by the name of its class and read from its attributes. Those of ``torchvision.transforms``, without v2,
        have the same.

    Raises
    ------
    RecipeError
        For transforms that the catalogue has nothing for, all of them named, and for settings that an op has not.

    Examples
    --------
    >>> from kaleidoscope import ops
    >>> class RandomHorizontalFlip:  # as torchvision's
    ...     p = 0.5
    >>> RandomHorizontalFlip.__module__ = "torchvision.transforms.v2._geometry"
    >>> ops.from_torchvision(RandomHorizontalFlip())
    Sometimes(HorizontalFlip(), p=0.5)
    """
    refuse_unknown("from_torchvision", _unknown(transform))
    return _part(transform)


def _refused(transform: object, said: str, why: str) -> RecipeError:
    return RecipeError(f"from_torchvision: {type(transform).__name__}({said}): {why}")


def _inner(transform: Any) -> list[Any]:
    """Return the transforms inside of one; what torch.nn has is iterable itself."""
    return list(transform.transforms if hasattr(transform, "transforms") else transform)


def _unknown(transform: object) -> Iterator[str]:
    """Yield the names of the transforms that have no counterpart."""
    kind = type(transform)
    name = kind.__name__
    if not kind.__module__.startswith(("torchvision.transforms", "torch.nn")):
        yield f"{kind.__module__}.{kind.__qualname__}"
    elif name in _CONTAINERS:
        for inner in _inner(transform):
            yield from _unknown(inner)
    elif name not in _CONVERT and (name not in _NAMED or _NAMED[name][0] not in registry.op_names()):
        yield name


def _part(transform: Any) -> Part:
    name = type(transform).__name__
    if name in _CONTAINERS:
        return _CONTAINERS[name](transform)
    if name in _CONVERT:
        part = _CONVERT[name](transform)
    else:
        ours, settings = _NAMED[name]
        part = registry.find_op(ours)(**settings(transform))
    return sometimes(part, float(getattr(transform, "p", 1.0)))


def _sequence(transform: Any) -> Part:
    return Sequential(*map(_part, _inner(transform)))


def _choice(transform: Any) -> Part:
    weights = list(transform.p)
    return OneOf(*map(_part, _inner(transform)), weights=None if len(set(weights)) == 1 else weights)


_CONTAINERS: dict[str, Callable[[Any], Part]] = {
    "Compose": _sequence,
    "Sequential": _sequence,
    "ModuleList": _sequence,
    "RandomApply": lambda it: sometimes(_sequence(it), float(it.p)),
    "RandomChoice": _choice,
}


# ---- what transforms say, as ours say it


def _interpolation(transform: Any) -> str:
    """Return the name of an ``InterpolationMode``, whose value is text."""
    value = getattr(transform.interpolation, "value", transform.interpolation)
    if value not in _INTERPOLATIONS:
        raise _refused(transform, f"interpolation={value!r}", f"expected one of {', '.join(_INTERPOLATIONS)}")
    return _INTERPOLATIONS[value]


def _fill(transform: Any) -> dict[str, Any]:
    """Return `fill` and `fill_mask` of one value for all, or of a mapping of types to values."""
    given = transform.fill
    by_type = {getattr(kind, "__name__", kind): value for kind, value in given.items()} if _maps(given) else {}
    image = by_type.get("Image", by_type.get("others", 0)) if _maps(given) else given
    mask = by_type.get("Mask", by_type.get("others", 0)) if _maps(given) else given
    image, mask = (0 if value is None else value for value in (image, mask))
    # A value for each channel cannot be meant for masks.
    return {"fill": _plain(image), "fill_mask": 0 if isinstance(mask, list | tuple) else mask}


def _maps(value: object) -> bool:
    return isinstance(value, Mapping)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return value[0] if len(value) == 1 else tuple(value)
    return value


def _centred(transform: Any) -> None:
    if transform.center is not None:
        raise _refused(transform, f"center={transform.center!r}", "ops turn about the middle of the image")


def _area(transform: Any) -> str | None:
    """Return `area_for_downscale` of a transform with ``antialias``, which is True where nothing was said."""
    smooth = _interpolation(transform) in {"linear", "cubic"} and getattr(transform, "antialias", True)
    return "image" if smooth else None


# ---- one by one


def _affine(transform: Any) -> Part:
    """Return scale and shear, then rotation and shift: ours in one op would shear last."""
    _centred(transform)
    how = {"interpolation": _interpolation(transform), **_fill(transform)}
    scale = tuple(transform.scale or (1.0, 1.0))
    shear = list(transform.shear or (0.0, 0.0))
    across, down = (shear[0], shear[1]), tuple(shear[2:]) or (0.0, 0.0)
    left, up = transform.translate or (0.0, 0.0)
    turned = Affine(
        # Theirs turns clockwise here, though not in RandomRotation.
        rotate=(-transform.degrees[1], -transform.degrees[0]),
        translate_percent={"x": (-left, left), "y": (-up, up)} if left or up else None,
        **how,
    )
    sheared = [Affine(shear={axis: ends}, **how) for axis, ends in (("x", across), ("y", down)) if any(ends)]
    if not sheared:
        return Affine(**{**turned.settings(), "scale": scale, "keep_ratio": scale != (1.0, 1.0)})
    scaled = [] if scale == (1.0, 1.0) else [Affine(scale=scale, keep_ratio=True, **how)]
    return Sequential(*scaled, *sheared, turned)


def _rotation(transform: Any) -> Part:
    _centred(transform)
    how = {"interpolation": _interpolation(transform), **_fill(transform)}
    if transform.expand:
        return Affine(rotate=tuple(transform.degrees), fit_output=True, **how)
    return Rotate(limit=tuple(transform.degrees), **how)


def _resize(transform: Any) -> Part:
    size: Any = transform.size
    how: dict[str, Any] = {"interpolation": _interpolation(transform), "area_for_downscale": _area(transform)}
    if isinstance(size, int):
        size = [size]  # as those without v2 keep it
    if size is not None and len(size) == 2:
        return Resize(height=size[0], width=size[1], **how)
    if size is not None and transform.max_size is not None:
        raise _refused(transform, f"max_size={transform.max_size!r}", "there is no op that bounds both sides")
    name, side = ("LongestMaxSize", transform.max_size) if size is None else ("SmallestMaxSize", size[0])
    if name not in registry.op_names():
        raise _refused(transform, f"size={size!r}", "Resize wants a height and a width, such as (224, 224)")
    part: Part = registry.find_op(name)(max_size=side, **how)
    return part


def _border(transform: Any) -> dict[str, Any]:
    return {"border_mode": _PADDINGS[transform.padding_mode], **_fill(transform)}


def _random_crop(transform: Any) -> Part:
    height, width = transform.size
    crop = RandomCrop(height, width)
    if transform.pad_if_needed:
        crop = RandomCrop(height, width, pad_if_needed=True, pad_position="random", **_border(transform))
    padding = transform.padding
    return Sequential(Pad(_plain(padding), **_border(transform)), crop) if padding else crop


def _blur(transform: Any) -> Part:
    across, down = transform.kernel_size
    if across != down:
        raise _refused(transform, f"kernel_size={transform.kernel_size!r}", "expected as wide as high")
    return GaussianBlur(blur_limit=(across, across), sigma_limit=tuple(transform.sigma))


def _noise(transform: Any) -> Part:
    if not transform.clip:
        raise _refused(transform, "clip=False", "ops keep to the range of the pixels")
    return GaussNoise(std_range=(transform.sigma, transform.sigma), mean_range=(transform.mean, transform.mean))


def _to_dtype(transform: Any) -> Part:
    if not transform.scale:
        raise _refused(transform, "scale=False", "floats are in [0, 1] here: expected scale=True")
    return Sequential()


def _sanitize(transform: Any) -> Part:
    if transform.min_size > 1 or getattr(transform, "min_area", 1) > 1:
        raise _refused(transform, f"min_size={transform.min_size!r}", "with_targets(min_area=...) drops small boxes")
    return Sequential()


def _nothing(transform: Any) -> Part:
    return Sequential()


def _level(transform: Any) -> dict[str, Any]:
    """Return a threshold as a fraction: theirs is in the pixels' range, 255 or 1."""
    fraction = transform.threshold / 255 if transform.threshold > 1 else transform.threshold
    return {"threshold_range": (fraction, fraction)}


def _jitter(transform: Any) -> dict[str, Any]:
    rest = {"brightness": (1.0, 1.0), "contrast": (1.0, 1.0), "saturation": (1.0, 1.0), "hue": (0.0, 0.0)}
    return {name: tuple(getattr(transform, name) or still) for name, still in rest.items()}


def _crop_area(transform: Any) -> dict[str, Any]:
    how = {"interpolation": _interpolation(transform), "area_for_downscale": _area(transform)}
    return {"size": tuple(transform.size), "scale": tuple(transform.scale), "ratio": tuple(transform.ratio), **how}


def _erasing(transform: Any) -> dict[str, Any]:
    fill = "random" if transform.value is None else _plain(transform.value)
    return {"scale": tuple(transform.scale), "ratio": tuple(transform.ratio), "fill": fill}


#: How to make a part of a transform; its ``p`` comes after.
_CONVERT: dict[str, Callable[[Any], Part]] = {
    "CenterCrop": lambda it: CenterCrop(it.size[0], it.size[1], pad_if_needed=True),
    "GaussianBlur": _blur,
    "GaussianNoise": _noise,
    "Normalize": lambda it: Normalize(mean=tuple(it.mean), std=tuple(it.std)),
    "Pad": lambda it: Pad(_plain(it.padding), **_border(it)),
    "RandomAffine": _affine,
    "RandomCrop": _random_crop,
    "RandomHorizontalFlip": lambda _: HorizontalFlip(),
    "RandomRotation": _rotation,
    "RandomVerticalFlip": lambda _: VerticalFlip(),
    "Resize": _resize,
    # From one kind of object to another; and boxes are cut to the frame here anyway.
    "ClampBoundingBoxes": _nothing,
    "ConvertImageDtype": _nothing,
    "Identity": _nothing,
    "PILToTensor": _nothing,
    "SanitizeBoundingBoxes": _sanitize,
    "ToDtype": _to_dtype,
    "ToImage": _nothing,
    "ToPILImage": _nothing,
    "ToPureTensor": _nothing,
    "ToTensor": _nothing,
}
#: The op of the catalogue that a transform becomes, and its settings.
_NAMED: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "ColorJitter": ("ColorJitter", _jitter),
    "Grayscale": ("ToGray", lambda it: {"num_output_channels": it.num_output_channels}),
    "JPEG": ("ImageCompression", lambda it: {"quality_range": tuple(it.quality)}),
    "RandomAutocontrast": ("AutoContrast", lambda _: {"method": "pil"}),
    "RandomChannelPermutation": ("ChannelShuffle", lambda _: {}),
    "RandomEqualize": ("Equalize", lambda _: {"mode": "pil"}),
    "RandomErasing": ("Erasing", _erasing),
    "RandomGrayscale": ("ToGray", lambda _: {"num_output_channels": 3}),
    "RandomInvert": ("InvertImg", lambda _: {}),
    "RandomPosterize": ("Posterize", lambda it: {"num_bits": (it.bits, it.bits)}),
    "RandomResizedCrop": ("RandomResizedCrop", _crop_area),
    "RandomSolarize": ("Solarize", _level),
}
