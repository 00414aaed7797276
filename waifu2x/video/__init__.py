"""Frames of a video through a model: planes, colors, repeated frames and YUV4MPEG2 streams."""
