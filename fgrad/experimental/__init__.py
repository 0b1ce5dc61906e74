"""What JAX keeps under this name: `from fgrad.experimental import io_callback` is `fgrad.io_callback`."""

from ..api.callbacks import io_callback

__all__ = ["io_callback"]
