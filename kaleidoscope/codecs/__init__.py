"""Bytes to pixels and back; never paths."""

from kaleidoscope.codecs.decode import KNOWN_EXTENSIONS, MAX_PIXELS, decode
from kaleidoscope.codecs.encode import Encoder

__all__ = ["KNOWN_EXTENSIONS", "MAX_PIXELS", "Encoder", "decode"]
