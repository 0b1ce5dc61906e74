"""Reading IDX files, the format in which MNIST and its relatives (Fashion-MNIST, KMNIST, EMNIST) are published.

An IDX file is a header and then the elements in row-major order, everything big-endian: two zero bytes, one byte with
the type of the elements, one byte with the number of dimensions, one unsigned 32-bit size per dimension.
Format: "The IDX file format", on the page of the MNIST database by LeCun, Cortes and Burges.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

ELEMENT_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"


class DataError(ValueError):
    """A file that holds images, labels or parameters is missing, damaged or does not fit the others."""


class Dataset(NamedTuple):
    """Images and labels, for training and for testing.

    Images have shape (count, height, width), labels are integers of shape (count,), counted from 0.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def read_idx(path: str | Path) -> np.ndarray:
    """The array in one IDX file, gzipped or not, in the byte order of this machine.

    The content decides whether the file is gzipped, not its name. Raises DataError, with the path and what to do, when
    the file cannot be read or is not exactly one complete IDX array.
    """
    path = Path(path)
    content = _read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataError(
            f"{path}: not an IDX file: it begins with the bytes {content[:4].hex(' ') or '(none)'}, "
            "an IDX file with 00 00. Is it a web page or another archive saved under this name? Download it again."
        )
    code, ndim = content[2], content[3]
    if code not in ELEMENT_TYPES:
        known = ", ".join(f"0x{c:02x}" for c in ELEMENT_TYPES)
        raise DataError(f"{path}: unknown IDX element type 0x{code:02x}, known are {known}. Download the file again.")
    header_size = 4 + 4 * ndim
    if len(content) < header_size:
        raise DataError(
            f"{path}: truncated in the header: {ndim} dimensions need {header_size} bytes, "
            f"the file has {len(content)}. Download it again."
        )
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", ndim, offset=4))
    dtype = np.dtype(ELEMENT_TYPES[code])
    expected = header_size + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        problem = "truncated" if len(content) < expected else "too long"
        raise DataError(
            f"{path}: {problem}: its header promises shape {shape} of {dtype.newbyteorder('=')}, {expected} bytes "
            f"in all, and there are {len(content)}. Download it again."
        )
    return np.frombuffer(content, dtype, offset=header_size).reshape(shape).astype(dtype.newbyteorder("="))


def load_idx_folder(folder: str | Path) -> Dataset:
    """The four files of an MNIST-format data set.

    Looks for train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each
    also with the suffix .gz and with a dot before idx (train-images.idx3-ubyte). Raises DataError when one is missing
    or damaged, or when images and labels do not belong together.
    """
    folder = Path(folder)
    train_images, train_labels = _load_pair(folder, "train")
    test_images, test_labels = _load_pair(folder, "t10k")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"{folder}: training images of {_by(train_images)} pixels and test images of {_by(test_images)}. "
            "Put the four files of one data set there."
        )
    if test_labels.max() > train_labels.max():
        raise DataError(
            f"{folder}: the test labels reach {test_labels.max()}, the training labels only {train_labels.max()}. "
            "Put the four files of one data set there."
        )
    return Dataset(train_images, train_labels, test_images, test_labels)


def _load_pair(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images_path, labels_path = _find(folder, part, "images-idx3"), _find(folder, part, "labels-idx1")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3:
        raise DataError(
            f"{images_path}: images need 3 dimensions (count, height, width), this file has {images.ndim}: "
            f"shape {images.shape}. Are images and labels exchanged?"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"{labels_path}: labels need 1 dimension of integers, this file has shape {labels.shape} of "
            f"{labels.dtype}. Are images and labels exchanged?"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images, {labels_path} {len(labels)} labels. "
            "Take both files from the same data set."
        )
    if images.size == 0:
        raise DataError(f"{images_path}: no images in it: shape {images.shape}. Download the file again.")
    if labels.min() < 0:
        raise DataError(
            f"{labels_path}: label {labels.min()} at index {labels.argmin()}. Labels are counted from 0: shift them."
        )
    return images, labels.astype(np.int64)


def _find(folder: Path, part: str, kind: str) -> Path:
    names = [f"{part}-{kind}-ubyte", f"{part}-{kind.replace('-', '.')}-ubyte"]
    names += [f"{name}.gz" for name in names]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(f"{folder}: no file {names[0]} (nor {', '.join(names[1:])}). Put the data set's four files there.")


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Check the path.") from error
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file: {error}. Download it again.") from error


def _by(images: np.ndarray) -> str:
    return f"{images.shape[1]}x{images.shape[2]}"
