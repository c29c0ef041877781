"""Bytes to pixels: OpenCV does the work, the header decides how it is asked.

What OpenCV 5.0 gets wrong or cannot do, and what is done about it here:

- it turns TIFFs by their orientation even when told not to: the tag is set to 1 first;
- it multiplies the colours of 8-bit RGBA TIFFs by their alpha, drops the alpha of grey ones, and takes CMYK
  for BGRA: Pillow reads those;
- ``IMREAD_COLOR_RGB`` gives the wrong order for a 16-bit TIFF: read as they lie, TIFFs are swapped here;
- it leaves a 16-bit TIFF that counts from white a negative, and garbles one with separate planes: the first
  is turned here, the second refused;
- it ignores a transparent grey in a PNG;
- it gives an animated GIF an alpha channel that its first frame has not: Pillow reads GIFs;
- libpng prints what it dislikes: it sees only the chunks that make up the pixels, checked.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np

from kaleidoscope.codecs import header as headers
from kaleidoscope.codecs.header import Chunk, Header, describe, npy_header, png_chunks, read_header, tiff_tags
from kaleidoscope.codecs.pages import count_pages
from kaleidoscope.codecs.png import CHANNELS_OF_COLOUR, decode_png
from kaleidoscope.codecs.quiet import opencv
from kaleidoscope.errors import DecodeError
from kaleidoscope.record import Frame
from kaleidoscope.settings import DEFAULTS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile

#: Extensions of the formats read here, lower case, without the dot.
KNOWN_EXTENSIONS = frozenset({"jpg", "jpeg", "jpe", "png", "webp", "tif", "tiff", "bmp", "gif", "npy"})

#: The limit where nobody sets another.
MAX_PIXELS: int = DEFAULTS["max-pixels"]

#: Decoded bytes that no few bytes may claim. Decoders hold the picture up to three times over: 0.8 GB.
_UNASKED_BYTES = 2**28

#: Pixels that a byte of a file can stand for at most; a JPEG spends a bit on each 8x8 block, deflate packs 1032 to 1.
_PIXELS_PER_BYTE = {"jpg": 512, "gif": 4096}
_PIXELS_PER_BYTE_ELSE = 16384

#: What `np.dtype` name each accepted npy type has.
_NPY_TYPES = {"u1": "uint8", "u2": "uint16", "i2": "int16", "f4": "float32"}


def decode(
    data: bytes | bytearray | memoryview, *, key: str, max_pixels: int | None = MAX_PIXELS, reduction: int = 1
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return the pixels of an encoded image and what its file said about them.

    JPEG, PNG, GIF, WebP, TIFF, BMP and npy, told by their first bytes. EXIF orientation is applied; EXIF, GPS,
    colour profiles and everything else a file may carry beside pixels stays behind. Of several
    pages or frames, the first. Safe to call from several threads; OpenCV releases the interpreter's lock.

    Parameters
    ----------
    data : bytes
        The whole file.
    key : str
        The image's name, for errors.
    max_pixels : int, optional
        The most pixels (width times height) to decode, checked against the header before anything is
        allocated; None for no limit. Of the whole image, however small it is decoded.
    reduction : {1, 2, 4, 8}
        Make an image of so many times less width and height, which takes a JPEG less time and memory: its pixels are
        means of what they cover, made from the frequencies that the file holds. Only where `look` says so.

    Returns
    -------
    pixels : ndarray of shape (H, W, C)
        RGB (grey ``C=1``, RGBA ``C=4``; npy any C), ``uint8``, ``uint16`` or ``float32`` in [0, 1];
        C-contiguous, writable, sharing nothing with `data`.
    metadata : dict
        ``format``; for signed input also ``offset``, which added to the pixels gives the values of the file; where
        the file holds several pages or frames also ``pages``, their number.

    Raises
    ------
    DecodeError
        For anything else: no image, a broken one, one over the limit, values outside [0, 1].

    Examples
    --------
    >>> png = cv2.imencode(".png", np.full((2, 3), 7, np.uint8))[1].tobytes()
    >>> pixels, metadata = decode(png, key="seven.png")
    >>> pixels.shape, pixels.dtype.name, metadata
    ((2, 3, 1), 'uint8', {'format': 'png'})
    """
    data = bytes(data)
    with _errors_of(key, data):
        header = _allowed_header(data, max_pixels)
        if not header.reduces_by(reduction):
            raise DecodeError(
                f"a {header.format} of {header.width}x{header.height} pixels has no 1/{reduction} of its own"
            )
        pixels = _READERS[header.format](data, header) if reduction == 1 else _read_jpeg(data, header, reduction)
        if pixels.shape[:2] != (header.height // reduction, header.width // reduction):
            raise DecodeError(
                f"the header says {header.width}x{header.height} pixels; decoded were "
                f"{pixels.shape[1]}x{pixels.shape[0]} at 1/{reduction}: the file is corrupt"
            )
        pixels, offset = _to_supported(pixels)
        pixels = _to_rgb(pixels) if header.format in _READ_AS_BGR else pixels
        pages = count_pages(data, header.format)
        several = {"pages": pages} if pages > 1 else {}
        return _upright(pixels, header.orientation), {"format": header.format, **offset, **several}


def look(
    data: bytes, *, key: str, max_pixels: int | None = MAX_PIXELS
) -> tuple[Frame, tuple[int, ...], dict[str, Any]] | None:
    """Return what `decode` will make of a file that it can make smaller, nothing decoded; None for any other file.

    Returns
    -------
    frame : Frame
        Of the whole image, upright.
    reductions : tuple of int
        What `decode` takes beside 1, most first.
    metadata : dict
        As `decode` gives it.

    Raises
    ------
    DecodeError
        Where `decode` would refuse it by its header.
    """
    with _errors_of(key, data):
        header = _allowed_header(data, max_pixels)
    reductions = tuple(by for by in headers.REDUCTIONS if header.reduces_by(by))
    if not reductions:
        return None
    height, width = (header.width, header.height) if header.orientation in _LYING else (header.height, header.width)
    return Frame(height, width, 1 if header.grey else 3, "uint8"), reductions, {"format": header.format}


def _allowed_header(data: bytes, max_pixels: int | None) -> Header:
    header = read_header(data)
    if max_pixels is not None:
        _refuse_over(max_pixels, header)
        _refuse_claims(len(data), header)
    return header


@contextmanager
def _errors_of(key: str, data: bytes) -> Iterator[None]:
    """Raise whatever goes wrong as an error of that image."""
    try:
        yield
    except DecodeError as error:
        raise DecodeError(error.message, key=key, step="decode") from error.__cause__
    except Exception as error:  # cv2.error, PIL's, MemoryError, struct.error: whatever a decoder throws at bad bytes
        reason = str(error).strip() or type(error).__name__
        raise DecodeError(f"cannot read {describe(data)}: {reason}", key=key, step="decode") from error


def _refuse_over(max_pixels: int, header: Header) -> None:
    count = header.width * header.height
    if count > max_pixels:
        raise DecodeError(
            f"{header.width}x{header.height} is {count:,} pixels, over the limit of {max_pixels:,}; "
            "raise the setting kaleidoscope.max-pixels if the file is to be trusted"
        )


def _refuse_claims(length: int, header: Header) -> None:
    """Refuse a large picture that the file is too small for, before memory is taken for it."""
    count = header.width * header.height
    decoded = count * (1 if header.grey else 4) * max(header.bits // 8, 1)
    if decoded > _UNASKED_BYTES and count > length * _PIXELS_PER_BYTE.get(header.format, _PIXELS_PER_BYTE_ELSE):
        raise DecodeError(
            f"{length:,} bytes cannot hold the {header.width}x{header.height} pixels that the {header.format} header "
            "says: the file is corrupt, cut short, or made to fill the memory"
        )


# One reader per format: the file and its header -> (H, W, C) as stored, in OpenCV's order for _READ_AS_BGR.


def _read_jpeg(data: bytes, header: Header, reduction: int = 1) -> NDArray[Any]:
    # OpenCV 5 gives nothing for a JPEG whose end marker is missing, so one that was cut short does not pass
    # half grey. One that lost bytes in the middle does, here as in Pillow: libjpeg only warns, on stderr.
    flags = cv2.IMREAD_GRAYSCALE if header.grey else cv2.IMREAD_COLOR_RGB
    return opencv(data, flags | _REDUCED[reduction])


#: The bit that makes OpenCV's flags ask for a smaller image.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def _read_webp(data: bytes, header: Header) -> NDArray[Any]:
    if header.alpha:
        return _to_rgb(opencv(data, cv2.IMREAD_UNCHANGED))
    return opencv(data, cv2.IMREAD_COLOR_RGB)


def _read_gif(data: bytes, header: Header) -> NDArray[Any]:
    from PIL.GifImagePlugin import GifImageFile

    return _pillow(GifImageFile, data)


def _read_bmp(data: bytes, header: Header) -> NDArray[Any]:
    return opencv(data, cv2.IMREAD_UNCHANGED)


def _read_png(data: bytes, header: Header) -> NDArray[Any]:
    colour, depth = data[25], data[24]
    keep = {b"IHDR", b"IDAT", b"IEND"} | ({b"PLTE"} if colour == 3 else set())
    keep |= {b"tRNS"} if colour in (2, 3) else set()
    chunks = list(png_chunks(data))
    if _is_plain(data, header, chunks):
        packed = b"".join(chunk.content for chunk in chunks if chunk.name == b"IDAT")
        shape = (header.height, header.width, CHANNELS_OF_COLOUR[colour])
        pixels = decode_png(packed, shape, np.uint8 if depth == 8 else np.uint16)
        if pixels is not None:
            return pixels
    core = headers.PNG_SIGNATURE + b"".join(chunk.whole for chunk in chunks if chunk.name in keep)
    if header.alpha and colour == 0:
        key = next(chunk.content for chunk in chunks if chunk.name == b"tRNS")
        return _transparent_grey(opencv(core, cv2.IMREAD_UNCHANGED), struct.unpack_from(">H", key)[0], depth)
    if header.grey or header.alpha:
        return _to_rgb(opencv(core, cv2.IMREAD_UNCHANGED))
    return opencv(core, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)


def _is_plain(data: bytes, header: Header, chunks: Sequence[Chunk]) -> bool:
    """Whether a PNG is grey, RGB or RGBA in whole bytes, not interlaced, with one header."""
    colour, depth = data[25], data[24]
    heads = [len(chunk.content) for chunk in chunks if chunk.name == b"IHDR"]
    plain = colour in CHANNELS_OF_COLOUR and depth in (8, 16) and header.alpha == (colour == 6)
    return plain and not any(data[26:29]) and chunks[0].name == b"IHDR" and heads == [13]


def _transparent_grey(grey: NDArray[Any], key: int, depth: int) -> NDArray[Any]:
    if depth < 8:
        key = key * 255 // (2**depth - 1)
    alpha = np.where(grey == key, 0, np.iinfo(grey.dtype).max).astype(grey.dtype)
    return np.concatenate([grey, grey, grey, alpha], axis=2)


def _read_tiff(data: bytes, header: Header) -> NDArray[Any]:
    tags = tiff_tags(data)

    def value(tag: int, default: int) -> int:
        return tags[tag].values[0] if tag in tags else default

    bits, samples, kind = value(headers.BITS, 1), value(headers.SAMPLES, 1), value(headers.SAMPLE_FORMAT, 1)
    photometric, planes = value(headers.PHOTOMETRIC, 1), value(headers.PLANAR, 1)
    extra = value(headers.EXTRA_SAMPLES, 2)  # 0 says nothing, 1 alpha the colours are multiplied by, 2 alpha
    if headers.ORIENTATION in tags:
        where, code = tags[headers.ORIENTATION].position, tags[headers.ORIENTATION].code
        upright = bytearray(data)
        struct.pack_into(code, upright, where, *([1] * int(code[1:-1])))
        data = bytes(upright)
    if bits <= 8 and kind in (1, 4) and (bits < 8 or samples in (2, 4) or planes != 1 or photometric not in (1, 2)):
        from PIL.TiffImagePlugin import TiffImageFile

        return _pillow(TiffImageFile, data)
    plain = photometric in (0, 1, 2) and samples in (1, 3, 4) and (planes == 1 or samples == 1)
    if not plain or (bits, kind) not in {(8, 1), (16, 1), (16, 2), (32, 3), (64, 3)}:
        raise DecodeError(
            f"expected a TIFF of 8-bit, unsigned or signed 16-bit, or float samples, grey, RGB or RGBA, "
            f"interleaved; got {samples} samples of {bits} bits (format {kind}), photometric {photometric}, "
            f"planar configuration {planes}"
        )
    if samples == 4 and extra == 1:
        raise DecodeError("expected plain alpha; the colours of this TIFF are multiplied by it (ExtraSamples 1)")
    pixels = opencv(data, cv2.IMREAD_UNCHANGED)
    if photometric == 0:  # counts from white
        if kind != 1:
            raise DecodeError("a TIFF that counts from white (photometric 0) is read with unsigned samples only")
        pixels = np.iinfo(pixels.dtype).max - pixels
    return pixels[:, :, :3] if samples == 4 and extra == 0 else pixels


def _read_npy(data: bytes, header: Header) -> NDArray[Any]:
    descr, shape, fortran_order, start = npy_header(data)
    type_name = _NPY_TYPES.get(descr.lstrip("<>|="))
    if type_name is None:
        raise DecodeError(f"expected an npy file of uint8, uint16, int16 or float32; it holds {descr!r}")
    stored = np.dtype(type_name).newbyteorder(">" if descr.startswith(">") else "<")
    count = 1
    for size in shape:
        count *= size
    if count * stored.itemsize > len(data) - start:
        raise DecodeError(f"the npy file is cut short: {shape} {type_name} do not fit into {len(data)} bytes")
    flat = np.frombuffer(data, stored, count, start)
    pixels = flat.reshape(shape, order="F" if fortran_order else "C").astype(type_name, order="C", copy=True)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


_READERS: dict[str, Callable[[bytes, Header], NDArray[Any]]] = {
    "jpg": _read_jpeg,
    "png": _read_png,
    "gif": _read_gif,
    "webp": _read_webp,
    "tiff": _read_tiff,
    "bmp": _read_bmp,
    "npy": _read_npy,
}

#: Read in OpenCV's channel order and swapped once converted: `cv2.cvtColor` knows no int16 or float64.
_READ_AS_BGR = {"gif", "tiff", "bmp"}


def _to_supported(pixels: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
    """Bring the pixels to one of our types without loss, and say what was added for that."""
    if 0 in pixels.shape:
        raise DecodeError(f"there are no pixels in shape {pixels.shape}")
    if pixels.dtype == np.int16:
        # Adding 32768 to a signed number flips its highest bit, whichever way it is read.
        return pixels.view(np.uint16) ^ np.uint16(0x8000), {"offset": -32768}
    if pixels.dtype in (np.float32, np.float64):
        lowest, highest = float(pixels.min()), float(pixels.max())
        if not (lowest >= 0 and highest <= 1):  # NaN compares false
            raise DecodeError(
                f"expected float pixels in [0, 1]; got {lowest:g} to {highest:g}; "
                "scale them to [0, 1], or store whole numbers as uint8 or uint16"
            )
        return pixels.astype(np.float32, copy=False), {}
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DecodeError(f"expected 8-bit, 16-bit or float pixels; got {pixels.dtype}")
    return pixels, {}


def _to_rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    channels = pixels.shape[2]
    if channels == 1:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGBA)


#: How to set upright what EXIF says lies otherwise: the value of the tag -> the turn.
_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.transpose(cv2.rotate(pixels, cv2.ROTATE_180)),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


#: Of these, those that exchange width and height.
_LYING = {5, 6, 7, 8}


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    if orientation not in _TURNS:
        return pixels
    turned = _TURNS[orientation](pixels)
    return turned if turned.ndim == 3 else turned[:, :, None]  # OpenCV drops the axis of a single channel


_pillow_lock = threading.Lock()


def _pillow(kind: Callable[[BinaryIO], ImageFile], data: bytes) -> NDArray[Any]:
    """Read a GIF, or a TIFF of at most 8 bits with palette, alpha, CMYK and the like, as BGR or grey.

    Pillow's own limit, 179 megapixels unless the process sets another, comes on top for these.
    """
    # It warns of harmless oddities in the header, and filters belong to the process: one at a time, then.
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = kind(io.BytesIO(data))
        image.load()
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"))[:, :, None]
    alpha = image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info
    return _to_rgb(np.array(image.convert("RGBA" if alpha else "RGB")))
