"""Primitives that hold programs."""

from . import call, checkpoint, cond, custom, loop, scan

__all__ = ["call", "checkpoint", "cond", "custom", "loop", "scan"]
