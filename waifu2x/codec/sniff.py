"""What a file is, by its first bytes."""

from __future__ import annotations

import re
from typing import BinaryIO, Final

from .._record import record
from .formats import FORMATS, Format, OutputFormat

#: Bytes of a file that `sniff` needs to see; pictures are recognized by 64.
HEAD_BYTES: Final = 512


@record
class FileType:
    """What `sniff` found.

    name: of the format ("png", "zip", ...), or "" if the first bytes do not tell.
    description: with its article, for messages ("a RAR archive (CBR)").
    format: the row of a picture format that is read, else None.
    archive: whether the file is an archive; only ZIP is read.
    video: whether the file may hold a video.
    """

    name: str = ""
    description: str = ""
    format: Format | None = None
    archive: bool = False
    video: bool = False

    @property
    def animated(self) -> bool:
        """Whether files of this format may hold animations that are read."""
        row = self.format
        return isinstance(row, OutputFormat) and row.animation_writer is not None

    def unsupported(self, name: str) -> str:
        """Return the message that the file called ``name`` is no picture, and what to do."""
        if self.name == "zip":
            return (
                f"{name} is {self.description}, not one picture; "
                "upscale a comic with `waifu2x.upscale_file`"
            )
        if self.video:
            return (
                f"{name} is {self.description}, not one picture; "
                "upscale it with `waifu2x.upscale_video`"
            )
        advice = "repack it as ZIP (CBZ)" if self.archive else "save it as PNG"
        return f"{name} is {self.description}, which is not supported; {advice}"


# Signatures (regular expressions) of files that are no pictures, or not supported.
_OTHERS = (
    (rb"PK\x03\x04|PK\x05\x06", FileType("zip", "a ZIP file", archive=True)),
    (rb"Rar!\x1a\x07", FileType("rar", "a RAR archive (CBR)", archive=True)),
    (rb"7z\xbc\xaf\x27\x1c", FileType("7z", "a 7z archive (CB7)", archive=True)),
    (rb".{257}ustar", FileType("tar", "a tar archive (CBT)", archive=True)),
    (rb".{7}\*\*ACE\*\*", FileType("ace", "an ACE archive (CBA)", archive=True)),
    (rb"%PDF", FileType("pdf", "a PDF file")),
    (rb"%!PS", FileType("ps", "a PostScript file")),
    (rb"<svg", FileType("svg", "an SVG file")),
    (rb"YUV4MPEG2 ", FileType("y4m", "a YUV4MPEG2 video", video=True)),
    (rb"\x1a\x45\xdf\xa3", FileType("mkv", "a Matroska video file", video=True)),
    (rb".{4}ftyp(?:hei|hev|mif|msf)", FileType("heic", "a HEIC file")),
    (rb".{4}(?:ftyp|moov|mdat|wide|pnot)", FileType("video", "a video file", video=True)),
    (rb"RIFF.{4}AVI ", FileType("avi", "an AVI file", video=True)),
    (rb"G.{187}G.{187}G|.{4}G.{191}G.{191}G", FileType("ts", "an MPEG-TS file", video=True)),
    (rb"\0\0\x01[\xba\xb3]", FileType("mpeg", "an MPEG video file", video=True)),
    (rb"FLV\x01", FileType("flv", "an FLV file", video=True)),
    (rb"OggS", FileType("ogg", "an Ogg file", video=True)),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", FileType("asf", "an ASF file", video=True)),
    (rb"DKIF", FileType("ivf", "an IVF file", video=True)),
    (rb"nut/multimedia container", FileType("nut", "a NUT file", video=True)),
    (rb"\.RMF", FileType("rm", "a RealMedia file", video=True)),
    (rb"\x06\x0e\x2b\x34\x02\x05\x01", FileType("mxf", "an MXF file", video=True)),
)

_TYPES = (
    *(
        (each.signature, FileType(each.name, f"a {each.label} file", each))
        # Signatures from the first byte on are the stronger ones.
        for each in sorted(FORMATS, key=lambda row: row.signature.startswith(b"."))
        if each.signature
    ),
    *_OTHERS,
)
_UNKNOWN = FileType()


def sniff(head: bytes) -> FileType:
    """Return what a file is that begins with ``head``, its first `HEAD_BYTES` bytes.

    Formats without a reliable signature (TGA, ICO, PCX, DDS, DIB) are unknown.
    """
    # Patterns are compiled when first tried: most files are one of the first few formats.
    return next(
        (found for signature, found in _TYPES if re.match(signature, head, re.DOTALL)), _UNKNOWN
    )


def sniff_stream(stream: BinaryIO) -> FileType:
    """Return what a seekable file is, and go back to its start."""
    stream.seek(0)
    found = sniff(stream.read(HEAD_BYTES))
    stream.seek(0)
    return found


def is_picture(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` (64 bytes suffice) is in a format we read."""
    return sniff(head).format is not None
