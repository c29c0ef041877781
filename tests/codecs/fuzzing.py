"""A process that decodes mutated image files and says after each what came of it.

Its argument is JSON: ``first`` and ``count`` of the cases, ``most`` bytes that one may take, and for the test of the
harness itself ``sabotage``: which case goes wrong how. A case depends on its number alone: ``python
tests/codecs/fuzzing.py show 1234`` prints its bytes as hex.
"""

import ctypes
import io
import json
import re
import resource
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from kaleidoscope.codecs import decode
from kaleidoscope.errors import DecodeError
from kaleidoscope.record import Frame

SEED = 20_240_611
#: Values at which sizes, offsets and counts go wrong.
INTERESTING = [0, 1, 2, 7, 8, 127, 128, 255, 256, 1023, 4095, 16383, 16384, 20_000, 32767, 32768, 50_000, 65535]
#: Bytes that what is written at a fixed place takes at most.
HEADER = 34
LARGE = [2**16, 2**24, 2**28, 2**31 - 1, 2**31, 2**32 - 1]


# ------------------------------------------------------------------------------------ what is mutated


def saved(image, form, **options):
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def npy(array):
    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


def seeds():
    """Return small files of every format and flavour, the same in every process."""
    rng = np.random.default_rng(SEED)
    smooth = np.add.outer(np.arange(23) * 5, np.arange(37) * 3)[..., None] + [0, 40, 80]
    colour = Image.fromarray((smooth + rng.integers(0, 9, (23, 37, 3))).astype(np.uint8))
    grey, palette = colour.convert("L"), colour.convert("P", palette=Image.Palette.ADAPTIVE, colors=17)
    rgba = colour.convert("RGBA")
    rgba.putalpha(Image.fromarray(rng.integers(0, 256, (23, 37), dtype=np.uint8)))
    deep = Image.fromarray(rng.integers(0, 2**16, (23, 37), dtype=np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"save_all": True, "append_images": [colour.rotate(180), colour.rotate(90)]}
    floats = rng.random((23, 37), dtype=np.float32)
    return {
        "jpg": saved(colour, "JPEG", exif=exif),
        "jpg grey": saved(grey, "JPEG"),
        "jpg progressive": saved(colour, "JPEG", progressive=True, exif=exif),
        "jpg cmyk": saved(colour.convert("CMYK"), "JPEG"),
        "jpg restarts": saved(colour, "JPEG", restart_marker_blocks=1, subsampling=0),
        "png": saved(colour, "PNG", exif=exif),
        "png grey": saved(grey, "PNG", transparency=7),
        "png 16 bit": saved(deep, "PNG"),
        "png 1 bit": saved(colour.convert("1"), "PNG"),
        "png palette": saved(palette, "PNG", transparency=3),
        "png rgba": saved(rgba, "PNG"),
        "png animated": saved(colour, "PNG", **more),
        "webp": saved(colour, "WEBP", exif=exif),
        "webp lossless": saved(rgba, "WEBP", lossless=True),
        "webp alpha": saved(rgba, "WEBP"),
        "webp animated": saved(colour, "WEBP", **more),
        "tiff strips": saved(colour, "TIFF", tiffinfo={274: 6, 278: 5}),
        "tiff tiles": saved(Image.fromarray(np.tile(np.asarray(colour), (2, 2, 1))), "TIFF", **tiled()),
        "tiff lzw": saved(colour, "TIFF", compression="tiff_lzw"),
        "tiff deflate": saved(rgba, "TIFF", compression="tiff_adobe_deflate"),
        "tiff jpeg": saved(colour, "TIFF", compression="jpeg"),
        "tiff fax": saved(colour.convert("1"), "TIFF", compression="group4"),
        "tiff packbits": saved(palette, "TIFF", compression="packbits"),
        "tiff 16 bit": saved(deep, "TIFF", compression="tiff_lzw"),
        "tiff float": saved(Image.fromarray(floats), "TIFF"),
        "tiff big": saved(colour, "TIFF", big_tiff=True),
        "tiff pages": saved(colour, "TIFF", **more),
        "gif": saved(palette, "GIF", transparency=3),
        "gif interlaced": saved(palette, "GIF", interlace=1),
        "gif animated": saved(colour, "GIF", **more),
        "bmp": saved(colour, "BMP"),
        "bmp palette": saved(palette, "BMP"),
        "bmp 1 bit": saved(colour.convert("1"), "BMP"),
        "bmp 32 bit": saved(rgba, "BMP"),
        "npy": npy(np.asarray(colour)),
        "npy grey 16 bit": npy(np.asarray(deep)),
        "npy float": npy(floats),
        "npy signed": npy(np.asarray(deep).astype(np.int16)),
    }


def tiled():
    return {"tiffinfo": {322: 16, 323: 16}, "compression": "tiff_lzw"}


# ------------------------------------------------------------------------------------ how it is mutated


def place(rng, data, length=1):
    """Return where to change something: often near the front, or the back, where the headers are."""
    room = max(len(data) - length, 0)
    near = min(room, 96)
    return int(rng.choice([rng.integers(0, room + 1), rng.integers(0, near + 1), room - rng.integers(0, near + 1)]))


def flip_bits(rng, data, others):
    for _ in range(rng.integers(1, 9)):
        data[place(rng, data)] ^= 1 << int(rng.integers(8))


def replace_bytes(rng, data, others):
    for _ in range(rng.integers(1, 17)):
        data[place(rng, data)] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))


def truncate(rng, data, others):
    del data[place(rng, data) :]


def delete(rng, data, others):
    start = place(rng, data)
    del data[start : start + int(rng.integers(1, max(len(data) // 4, 2)))]


def duplicate(rng, data, others):
    start = place(rng, data)
    piece = data[start : start + int(rng.integers(1, max(len(data) // 4, 2)))]
    data[start:start] = piece * int(rng.choice([1, 1, 2, 50]))


def splice(rng, data, others):
    other = others[int(rng.integers(len(others)))]
    data[place(rng, data) :] = other[int(rng.integers(len(other))) :]


def insert_number(rng, data, others):
    """Write a number of 2, 4 or 8 bytes, in either order, at which things go wrong."""
    code = str(rng.choice(["<H", ">H", "<I", ">I", "<Q", ">Q"]))
    value = int(rng.choice(INTERESTING + LARGE)) % 2 ** (8 * struct.calcsize(code))
    where = place(rng, data, struct.calcsize(code))
    data[where : where + struct.calcsize(code)] = struct.pack(code, value)


def claim_a_size(rng, data, others):
    """Say that the picture is of another size, where each format says it."""
    width, height = (int(rng.choice(INTERESTING)) for _ in range(2))
    if data.startswith(b"\x89PNG"):
        data[16:24] = struct.pack(">II", width, height)
    elif data.startswith(b"\xff\xd8"):
        frames = [at for mark in (b"\xff\xc0", b"\xff\xc2") if (at := data.find(mark)) >= 0]
        for at in frames:
            data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif data.startswith(b"GIF"):
        data[6:10] = struct.pack("<HH", width, height)
        at = data.find(b"\x2c", 13)
        if rng.integers(2) and at >= 0:
            data[at + 5 : at + 9] = struct.pack("<HH", width, height)
    elif data.startswith(b"RIFF"):
        claim_in_a_webp(data, width, height)
    elif data.startswith(b"BM"):
        data[18:26] = struct.pack("<ii", width, int(rng.choice([height, -height])))
    elif data.startswith(b"\x93NUMPY"):
        data[:] = data.replace(b"(23, 37", f"({height}, {width}".encode(), 1)
    else:
        claim_in_a_directory(rng, data, {256: width, 257: height})


def claim_in_a_webp(data, width, height):
    if data[12:16] == b"VP8 ":
        data[26:30] = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
    elif data[12:16] == b"VP8X":
        data[24:30] = (width - 1 & 0xFFFFFF).to_bytes(3, "little") + (height - 1 & 0xFFFFFF).to_bytes(3, "little")
    elif data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little") >> 28
        data[21:25] = (bits << 28 | (height - 1 & 0x3FFF) << 14 | (width - 1 & 0x3FFF)).to_bytes(4, "little")


def claim_a_kind(rng, data, others):
    """Say that the samples are of another kind, where a TIFF, PNG or BMP says it."""
    if data.startswith(b"\x89PNG"):
        data[24], data[25] = int(rng.choice([1, 2, 4, 8, 16])), int(rng.choice([0, 2, 3, 4, 6]))
    elif data.startswith(b"BM"):
        data[28:34] = struct.pack("<HI", int(rng.choice([1, 4, 8, 16, 24, 32])), int(rng.integers(0, 7)))
    else:
        tags = {
            258: [1, 2, 4, 8, 12, 16, 32, 64],
            259: [1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946],
            262: [0, 1, 2, 3, 4, 5, 6, 8],
            277: [1, 2, 3, 4, 5, 100],
            284: [1, 2],
            339: [1, 2, 3, 4, 5],
        }
        tag = int(rng.choice(list(tags)))
        claim_in_a_directory(rng, data, {tag: int(rng.choice(tags[tag]))})


def claim_in_a_directory(rng, data, wanted):
    """Change the values of a TIFF's first directory."""
    order = ">" if data.startswith(b"MM") else "<"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for entry in range(start + 2, start + 2 + 12 * min(count, 64), 12):
            tag, kind, _ = struct.unpack_from(order + "HHI", data, entry)
            if tag in wanted and kind in (3, 4):
                struct.pack_into(order + ("H" if kind == 3 else "I"), data, entry + 8, wanted[tag])
    except struct.error:
        return


def mend_checksums(data):
    """Make a PNG's checksums right, so that what was changed gets past them."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            return
        struct.pack_into(">I", data, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))
        at += 12 + length


MUTATIONS = [
    *[flip_bits, replace_bytes, truncate, delete, duplicate, splice],
    *[insert_number, claim_a_size, claim_a_size, claim_a_kind],
]


def case(number, files):
    """Return the name and the bytes of a case."""
    rng = np.random.default_rng([SEED, number])
    names = list(files)
    name = names[int(rng.integers(len(names)))]
    data, others = bytearray(files[name]), list(files.values())
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        mutation = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        if len(data) < HEADER:
            break  # an earlier one left too little
        mutation(rng, data, others)
        name += f", {mutation.__name__}"
    if data.startswith(b"\x89PNG") and rng.integers(4):
        mend_checksums(data)
    return name, bytes(data)


# ------------------------------------------------------------------------------------ what comes of it


def outcome(data):
    """Decode as a user would: return ``read`` or ``refused``, or what must not be."""
    try:
        pixels, metadata = decode(data, key="k")
    except DecodeError as error:
        return "refused" if (error.key, error.step) == ("k", "decode") and error.message else f"lost its key: {error!r}"
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        return f"raised {error!r}"
    try:
        Frame.of(pixels)
    except Exception as error:  # noqa: BLE001 - the same
        return f"gave no pixels: {error!r}"
    if not (pixels.flags.c_contiguous and pixels.flags.writeable and metadata.keys() <= {"format", "offset", "pages"}):
        return f"gave pixels that are not ours, or {metadata}"
    return "read"


def tell(**words):
    """Send a line of JSON, now: this may be the last that is heard from here."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def peak():
    """Return the most bytes of memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():  # what `getrusage` says on Linux begins with the peak of the process that started this one
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Foreign(bytes):
    """Bytes that raise what is not ours when they are looked at."""

    def __bytes__(self):
        raise KeyError("not one of ours")


SABOTAGE = {
    "crash": lambda _: ctypes.string_at(0),
    "hang": lambda _: time.sleep(600),
    "memory": lambda _: "read" if b"x" * 2**28 else "",
    "foreign": lambda _: outcome(Foreign()),
    "exit": lambda _: sys.exit(0),
}


def guard_the_machine(most):
    """Let no case take the whole machine before it can be told off; what is measured has a lower limit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sizes = Path("/proc/self/statm")
    if sizes.exists():
        now = int(sizes.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 8 * most, resource.RLIM_INFINITY))


def main(first, count, most, sabotage):
    """Decode cases, with a line of JSON before and after each."""
    guard_the_machine(most)
    files = seeds()
    for name, data in files.items():
        assert outcome(data) == "read", f"{name}: {outcome(data)}"
    before = peak()
    for number in range(first, first + count):
        name, data = case(number, files)
        tell(case=number, name=name)
        started = time.monotonic()
        came = SABOTAGE.get(sabotage.get(str(number)), outcome)(data)
        grown = peak() - before
        if grown > most:
            came = f"took {grown:,} bytes"
        seconds = time.monotonic() - started
        tell(case=number, came=came, peak=grown, seconds=seconds)
        if grown > most:
            return  # the peak of a process never falls: the next case wants a new one


if __name__ == "__main__":
    if sys.argv[1] == "show":
        shown = case(int(sys.argv[2]), seeds())
        sys.stdout.write(f"{shown[0]}: {shown[1].hex()}\n")
    else:
        main(**json.loads(sys.argv[1]))
