"""Bytes to pixels and back; never paths."""

from kaleidoscope.codecs.decode import KNOWN_EXTENSIONS, MAX_PIXELS, decode, look
from kaleidoscope.codecs.encode import Encoder

__all__ = ["KNOWN_EXTENSIONS", "MAX_PIXELS", "Encoder", "decode", "look"]
