"""Files and images in, `Picture` out, and back.

One module per job. Writing: `encoder`, `formats` (what can be written), `target` (may this file be
written), `png` and `tiff` (row by row, on several threads, over `pieces` and `deflate`), `color`
(profiles of our own). Reading: `decoder`, `header` (the size alone), `bounds` (sizes claimed in
headers), `png_chunks`, `tiff_layout`, `jxl` (headers of our own), `deep` and `tiff_picture` (more
than 8 bits), `jpeg` and `noise` (how compressed was this). Both: `image` (Pillow images), `samples`
(arrays and sample types), `exif`, `xmp`. Animations have a package of their own. Nothing here knows
of networks, tiles or engines.
"""

from .decoder import (
    DEFAULT_MAX_PIXELS,
    MAX_PIXELS_VARIABLE,
    decode,
    decode_stream,
    has_frames,
    is_picture,
    may_be_animation,
    opened,
    pixel_limit,
)
from .encoder import (
    WriteRows,
    check_quality,
    encode,
    encode_rows,
    encode_rows_stream,
    encode_stream,
)
from .formats import (
    OUTPUT_FORMATS,
    OutputFormat,
    reduction_notes,
    resolve_format,
    written_dtype,
)
from .header import Header, read_header
from .image import from_image, to_image
from .jpeg_quality import estimate_quality
from .png_writer import PngWriter
from .samples import convert_samples, from_array, to_array
from .target import check_size, check_target
from .tiff_writer import TiffWriter

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "MAX_PIXELS_VARIABLE",
    "OUTPUT_FORMATS",
    "Header",
    "OutputFormat",
    "PngWriter",
    "TiffWriter",
    "WriteRows",
    "check_quality",
    "check_size",
    "check_target",
    "convert_samples",
    "decode",
    "decode_stream",
    "encode",
    "encode_rows",
    "encode_rows_stream",
    "encode_stream",
    "estimate_quality",
    "from_array",
    "from_image",
    "has_frames",
    "is_picture",
    "may_be_animation",
    "opened",
    "pixel_limit",
    "read_header",
    "reduction_notes",
    "resolve_format",
    "to_array",
    "to_image",
    "written_dtype",
]
