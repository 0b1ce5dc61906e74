"""The Threefry-2x32 block cipher with 20 rounds, on NumPy arrays.

Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11
(the Random123 library): rotation constants, key schedule and known answers are theirs.
"""

import numpy as np

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
MASK = 0xFFFFFFFF

# 0-d arrays: a ufunc takes one as it is, whereas a NumPy scalar is converted anew at every call.
_SHIFTS = tuple(tuple((np.array(r, np.uint32), np.array(32 - r, np.uint32)) for r in group) for group in ROTATIONS)

_CHUNK = 16384  # elements: three uint32 buffers of this length stay in a core's private cache
_FEW = 8  # up to so many blocks, Python integers beat a hundred ufunc calls


def threefry2x32(k0: np.ndarray, k1: np.ndarray, x0: np.ndarray, x1: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encrypt the counter words ``(x0, x1)`` under the key words ``(k0, k1)``.

    The four uint32 operands broadcast against each other. The two results are fresh uint32 arrays of the broadcast
    shape.

    >>> import numpy as np
    >>> y0, y1 = threefry2x32(*np.zeros((4, 1), np.uint32))
    >>> hex(y0[0]), hex(y1[0])
    ('0x6b200159', '0x99ba4efe')
    """
    k0, k1, x0, x1 = (np.asarray(a, np.uint32) for a in (k0, k1, x0, x1))
    shape = np.broadcast(k0, k1, x0, x1).shape
    y0, y1 = np.empty(shape, np.uint32), np.empty(shape, np.uint32)
    size = y0.size
    if 0 < size <= _FEW:
        words = (_broadcast_list(a, shape, size) for a in (k0, k1, x0, x1))
        y0.flat, y1.flat = zip(*map(_encrypt_block, *words), strict=True)
        return y0, y1

    y0[...] = x0
    y1[...] = x1
    if k0.size == k1.size == 1:
        k0, k1 = k0.reshape(()), k1.reshape(())
    else:
        k0, k1 = (np.broadcast_to(k, shape).reshape(-1) for k in (k0, k1))
    flat0, flat1 = y0.reshape(-1), y1.reshape(-1)  # views: both are contiguous
    for start in range(0, size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        keys = (k0[chunk], k1[chunk]) if k0.ndim else (k0, k1)
        _encrypt_in_place(*keys, flat0[chunk], flat1[chunk])
    return y0, y1


def _broadcast_list(a: np.ndarray, shape: tuple[int, ...], size: int) -> list[int]:
    if a.size == 1:
        return a.ravel().tolist() * size
    return np.broadcast_to(a, shape).ravel().tolist()


def _encrypt_in_place(k0: np.ndarray, k1: np.ndarray, x0: np.ndarray, x1: np.ndarray) -> None:
    k2 = np.asarray(k0 ^ k1 ^ np.uint32(PARITY))
    schedule = (k0, k1, k2)
    x0 += k0
    x1 += k1
    scratch = np.empty_like(x0)
    counter = np.empty_like(k2)
    for step in range(1, 6):
        for left, right in _SHIFTS[(step - 1) % 2]:
            x0 += x1
            np.right_shift(x1, right, out=scratch)
            np.left_shift(x1, left, out=x1)
            x1 |= scratch
            x1 ^= x0
        x0 += schedule[step % 3]
        np.add(schedule[(step + 1) % 3], np.uint32(step), out=counter)
        x1 += counter


def _encrypt_block(k0: int, k1: int, x0: int, x1: int) -> tuple[int, int]:
    schedule = (k0, k1, k0 ^ k1 ^ PARITY)
    x0 = (x0 + k0) & MASK
    x1 = (x1 + k1) & MASK
    for step in range(1, 6):
        for r in ROTATIONS[(step - 1) % 2]:
            x0 = (x0 + x1) & MASK
            x1 = ((x1 << r) & MASK | x1 >> (32 - r)) ^ x0
        x0 = (x0 + schedule[step % 3]) & MASK
        x1 = (x1 + schedule[(step + 1) % 3] + step) & MASK
    return x0, x1
