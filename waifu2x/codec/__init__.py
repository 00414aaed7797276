"""Files and images in, `Picture` out, and back.

One module per job: `decoder`, `encoder`, `png` (PNG row by row, on several threads), `target` (may
this file be written), `formats` (what can be written), `image` (Pillow images), `samples` (arrays
and sample types), `jpeg` and `noise` (how compressed was this), `exif`. Nothing here knows of
networks, tiles or engines.
"""

from .decoder import DEFAULT_MAX_PIXELS, MAX_PIXELS_VARIABLE, decode, pixel_limit
from .encoder import WriteRows, check_quality, encode, encode_rows
from .formats import OUTPUT_FORMATS, OutputFormat, resolve_format
from .image import from_image, to_image
from .jpeg import estimate_quality
from .noise import choose_noise
from .png import PngWriter
from .samples import convert_samples, from_array, to_array
from .target import check_target

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "MAX_PIXELS_VARIABLE",
    "OUTPUT_FORMATS",
    "OutputFormat",
    "PngWriter",
    "WriteRows",
    "check_quality",
    "check_target",
    "choose_noise",
    "convert_samples",
    "decode",
    "encode",
    "encode_rows",
    "estimate_quality",
    "from_array",
    "from_image",
    "pixel_limit",
    "resolve_format",
    "to_array",
    "to_image",
]
