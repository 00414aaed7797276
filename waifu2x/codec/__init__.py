"""Files and images in, `Picture` out, and back.

One module per job. Formats: `formats` (the table), `sniff` (what a file is). Writing: `encoder`,
`png_writer` and `tiff_writer` (row by row, on several threads, over `row_writer` and `deflate`),
`jpeg_writer` and `avif_writer` (labels that Pillow cannot write), `color` (ICC profiles of color
labels, conversion to sRGB). Reading: `decoder`, `header` (the size alone), `limits` (sizes declared
in headers), `pillow_open`; `png_decoder` over `png_reader`; `tiff_reader` over `tiff_header`,
`tiff_pixels` and `tiff_metadata`; `psd_reader`; `jpeg2000_reader` over `jpeg2000_header`;
`jpeg_reader` over `jpeg_header`; `avif_reader` over `avif_header`, `avif_blue` and
`av1_sequence`; `webp_container`; `jxl_header`; `high_depth` (more than 8 bits), `jpeg_quality`;
`gif_reader` over `container_reader`, `faults` (errors in common); `format_readers` lists the
readers of small formats: `bmp_reader`, `ico_reader`, `tga_reader` and `pcx_reader` over
`run_length` and `bit_fields` (packed samples), `ppm_reader`, `qoi_reader`, `dds_reader`. Both:
`image` (Pillow images), `conversion` (CMYK, CIELab and YCC), `samples` (arrays and sample types),
`exif`, `xmp`, `png_chunks`, `boxes`. `animation` is a package of its own.
"""

from .decoder import (
    DEFAULT_MAX_PIXELS,
    decode,
    decode_stream,
    may_be_animation,
    opened,
    pixel_limit,
)
from .encoder import PictureWriter, encode_stream, open_row_writer
from .formats import (
    ANIMATED_OUTPUT_FORMATS,
    ENCODER_MEMORY,
    FOLDER_SUFFIXES,
    OUTPUT_FORMATS,
    PAGE_SUFFIXES,
    OutputFormat,
    check_quality,
    check_size,
    format_named,
    resolve_format,
    written_dtype,
)
from .header import Header, read_header
from .image import from_image, to_image
from .jpeg_quality import estimate_quality
from .samples import convert_samples, from_array, to_array
from .sniff import HEAD_BYTES, is_picture, sniff, sniff_stream

__all__ = [
    "ANIMATED_OUTPUT_FORMATS",
    "DEFAULT_MAX_PIXELS",
    "ENCODER_MEMORY",
    "FOLDER_SUFFIXES",
    "HEAD_BYTES",
    "OUTPUT_FORMATS",
    "PAGE_SUFFIXES",
    "Header",
    "OutputFormat",
    "PictureWriter",
    "check_quality",
    "check_size",
    "convert_samples",
    "decode",
    "decode_stream",
    "encode_stream",
    "estimate_quality",
    "format_named",
    "from_array",
    "from_image",
    "is_picture",
    "may_be_animation",
    "open_row_writer",
    "opened",
    "pixel_limit",
    "read_header",
    "resolve_format",
    "sniff",
    "sniff_stream",
    "to_array",
    "to_image",
    "written_dtype",
]
