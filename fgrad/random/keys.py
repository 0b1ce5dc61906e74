"""Keys, the bits drawn from them, and the ways to make more keys.

A key is a plain uint32 array of shape (2,): the two words of a Threefry-2x32 key. A draw encrypts the counters
0, 1, 2, … under the key, so every element of a draw is a function of the key and of its own position alone. The bit
patterns are those of JAX with ``jax_threefry_partitionable=True``, its default since version 0.5.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import fgrad.numpy as fnp
from fgrad import lax
from fgrad.core.primitive import registry
from fgrad.random.checks import Shape, as_shape, check_key

_LOW_WORD = 0xFFFFFFFF


def _cipher(k0: Any, k1: Any, x0: Any, x1: Any) -> tuple[Any, Any]:
    return registry.threefry2x32(k0, k1, x0, x1)


def key(seed: int) -> Any:
    """Make a key from a seed.

    `seed` is an integer scalar from -2**63 to 2**64 - 1; equal seeds give equal keys. The result is a uint32 array of
    shape (2,). Raises TypeError for a seed that is no integer scalar and ValueError for one out of range.

    >>> from fgrad import random
    >>> random.key(42)
    array([ 0, 42], dtype=uint32)
    """
    if isinstance(seed, int):
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"key: seed must be at least -2**63 and less than 2**64, got {seed}")
        return np.array([seed >> 32 & _LOW_WORD, seed & _LOW_WORD], np.uint32)
    shape, dtype = getattr(seed, "shape", None), getattr(seed, "dtype", None)
    if shape is None or dtype is None or np.dtype(dtype).kind not in "iu":
        raise TypeError(f"key: seed must be an integer, got {type(seed).__name__} {seed!r}")
    if shape != ():
        raise TypeError(
            f"key: seed must be one integer, got an array of shape {tuple(shape)}; "
            "for many keys use fgrad.random.split(fgrad.random.key(seed), n)"
        )
    low = lax.convert_element_type(seed, np.uint32)
    if np.dtype(dtype).itemsize < 8:
        return fnp.stack([fnp.zeros_like(low), low])
    high = lax.convert_element_type(lax.convert_element_type(seed, np.uint64) >> 32, np.uint32)
    return fnp.stack([high, low])


PRNGKey = key


def key_data(keys: Any) -> Any:
    """Return the uint32 words of `keys`: keys are plain arrays here, so `keys` itself.

    >>> from fgrad import random
    >>> random.key_data(random.key(1))
    array([0, 1], dtype=uint32)
    """
    return keys


def wrap_key_data(key_bits_array: Any) -> Any:
    """Return the keys whose words are `key_bits_array`, a uint32 array of shape (..., 2): that array itself.

    >>> import numpy as np
    >>> from fgrad import random
    >>> random.wrap_key_data(np.array([0, 1], np.uint32))
    array([0, 1], dtype=uint32)
    """
    dtype, shape = getattr(key_bits_array, "dtype", None), getattr(key_bits_array, "shape", ())
    if dtype != np.uint32 or shape[-1:] != (2,):
        raise ValueError(f"wrap_key_data: needs a uint32 array of shape (..., 2), got dtype {dtype}, shape {shape}")
    return key_bits_array


def split(key: Any, num: int | Sequence[int] = 2) -> Any:
    """Make `num` new keys from one.

    `num` is an int or a tuple of ints: the shape of the array of keys. The result is a uint32 array of shape
    (num, 2), or (*num, 2). Use the new keys in place of `key` from then on: the same key gives the same numbers.

    >>> from fgrad import random
    >>> random.split(random.key(0)).shape
    (2, 2)
    """
    check_key("split", key)
    shape = as_shape("split", num)
    words = _encrypt_counters(key, math.prod(shape))
    return fnp.reshape(fnp.stack(words, axis=-1), (*shape, 2))


def fold_in(key: Any, data: int) -> Any:
    """Make a new key from a key and an integer, such as the number of a step or of a layer.

    `data` is an integer scalar of 32 bits, -2**31 to 2**32 - 1; of a wider array the low 32 bits count. Raises
    TypeError for data that is no integer scalar and ValueError for an int out of range.

    >>> import numpy as np
    >>> from fgrad import random
    >>> key = random.key(0)
    >>> bool(np.all(random.fold_in(key, 1) == random.fold_in(key, 2)))
    False
    """
    check_key("fold_in", key)
    if isinstance(data, int | np.integer):
        if not -(2**31) <= data < 2**32:
            raise ValueError(f"fold_in: data must fit in 32 bits, got {data}")
        word = np.array(int(data) & _LOW_WORD, np.uint32)
    else:
        shape, dtype = getattr(data, "shape", None), getattr(data, "dtype", None)
        if shape != () or dtype is None or np.dtype(dtype).kind not in "iu":
            got = type(data).__name__ if dtype is None else f"dtype {dtype}, shape {tuple(shape)}"
            raise TypeError(f"fold_in: data must be one integer, got {got}; map over many with fgrad.vmap")
        word = lax.convert_element_type(data, np.uint32)
    word = fnp.reshape(word, (1,))
    return fnp.concatenate(_cipher(key[0], key[1], fnp.zeros_like(word), word))


def bits(key: Any, shape: Shape = (), dtype: Any = np.uint64) -> Any:
    """Draw uniform random bits, as unsigned integers of `shape`.

    `dtype` is uint8, uint16, uint32 or uint64 (the default). Raises ValueError for another one.

    >>> import numpy as np
    >>> from fgrad import random
    >>> random.bits(random.key(0), (2,), np.uint8).dtype
    dtype('uint8')
    """
    check_key("bits", key)
    dtype = np.dtype(np.uint64 if dtype is None else dtype)
    if dtype.kind != "u":
        raise ValueError(f"bits: dtype must be an unsigned integer dtype, got {dtype}")
    return random_bits(key, as_shape("bits", shape), dtype)


def random_bits(key: Any, shape: Shape, dtype: np.dtype) -> Any:
    """Draw `bits` from arguments that have been checked."""
    word0, word1 = _encrypt_counters(key, math.prod(shape))
    if dtype.itemsize == 8:
        high = lax.convert_element_type(word0, np.uint64) << np.uint64(32)
        return fnp.reshape(high | lax.convert_element_type(word1, np.uint64), shape)
    return fnp.reshape(lax.convert_element_type(word0 ^ word1, dtype), shape)


def _encrypt_counters(key: Any, size: int) -> tuple[Any, Any]:
    if size <= 2**32:
        return _cipher(key[0], key[1], fnp.zeros((size,), np.uint32), lax.iota(np.uint32, size))
    counters = lax.iota(np.uint64, size)
    high = lax.convert_element_type(counters >> np.uint64(32), np.uint32)
    return _cipher(key[0], key[1], high, lax.convert_element_type(counters, np.uint32))
