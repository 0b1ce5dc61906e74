"""Primitives that hold programs."""

from . import call, checkpoint, cond, custom, implicit, loop, scan

__all__ = ["call", "checkpoint", "cond", "custom", "implicit", "loop", "scan"]
