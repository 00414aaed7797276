"""Engines run a network on a CPU or GPU."""

from __future__ import annotations

from .base import Compiled, Concurrency, Engine, OnRows, Streaming
from .creation import create, for_model, has_accelerators, obstacles
from .device import Batch, DevicePicture, Session, TileBatch, TileCopy, TileStats, Transform
from .host import RUNTIME_OVERHEAD
from .model_file import read_model
from .names import ALLOWED_DEVICES, ENGINES, PRECISIONS, check

__all__ = [
    "ALLOWED_DEVICES",
    "ENGINES",
    "PRECISIONS",
    "RUNTIME_OVERHEAD",
    "Batch",
    "Compiled",
    "Concurrency",
    "DevicePicture",
    "Engine",
    "OnRows",
    "Session",
    "Streaming",
    "TileBatch",
    "TileCopy",
    "TileStats",
    "Transform",
    "check",
    "create",
    "for_model",
    "has_accelerators",
    "obstacles",
    "read_model",
]
