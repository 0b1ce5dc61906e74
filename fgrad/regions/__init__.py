"""Primitives that hold programs."""

from . import call, checkpoint, custom

__all__ = ["call", "checkpoint", "custom"]
