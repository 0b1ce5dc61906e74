"""The IDX reader on small files written here, whole and damaged."""

import gzip
import re
import struct

import numpy as np
import pytest

from idx import DataError, load_idx_folder, read_idx

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_bytes(code, shape, payload):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + payload


def images(count, height=2, width=3):
    return idx_bytes(0x08, (count, height, width), bytes(range(count * height * width)))


def labels(*values):
    return idx_bytes(0x08, (len(values),), bytes(values))


@pytest.fixture
def folder(tmp_path):
    for name, content in zip(NAMES, (images(4), labels(0, 1, 2, 1), images(2), labels(2, 0)), strict=True):
        (tmp_path / name).write_bytes(content)
    return tmp_path


def refused(call, *parts):
    with pytest.raises(DataError) as caught:
        call()
    for part in parts:
        assert str(part) in str(caught.value)


@pytest.mark.parametrize(
    ("code", "letter", "dtype", "values"),
    [
        (0x08, "B", np.uint8, [0, 1, 254, 255]),
        (0x09, "b", np.int8, [-128, -1, 0, 127]),
        (0x0B, "h", np.int16, [-32768, -2, 256, 32767]),
        (0x0C, "i", np.int32, [-(2**31), -3, 65536, 2**31 - 1]),
        (0x0D, "f", np.float32, [0.5, -0.0, float("inf"), 1.5e-45]),
        (0x0E, "d", np.float64, [0.1, -0.0, float("-inf"), 5e-324]),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_every_element_type_big_endian(tmp_path, code, letter, dtype, values, compress):
    path = tmp_path / "any-name"
    path.write_bytes(compress(idx_bytes(code, (2, 2), struct.pack(f">4{letter}", *values))))
    array = read_idx(path)
    assert array.dtype == dtype
    assert array.dtype.isnative
    assert array.flags.writeable
    expected = np.array(values, dtype).reshape(2, 2)
    np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(np.signbit(array), np.signbit(expected))


def test_first_axis_varies_slowest(tmp_path):
    (tmp_path / "x").write_bytes(images(2))
    assert read_idx(tmp_path / "x").tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


@pytest.mark.parametrize(("shape", "payload"), [((0,), b""), ((0, 28, 28), b""), ((), b"\7")])
def test_empty_and_zero_dimensional(tmp_path, shape, payload):
    (tmp_path / "x").write_bytes(idx_bytes(0x08, shape, payload))
    assert read_idx(tmp_path / "x").shape == shape


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file: it begins with the bytes (none)"),
        (b"\0\0\x08", "not an IDX file: it begins with the bytes 00 00 08"),
        (b"<!DOCTYPE html>", "not an IDX file: it begins with the bytes 3c 21 44 4f, an IDX file with 00 00"),
        (b"\0\0\x0a\1\0\0\0\0", "unknown IDX element type 0x0a, known are 0x08, 0x09, 0x0b, 0x0c, 0x0d, 0x0e"),
        (images(2)[:14], "truncated in the header: 3 dimensions need 16 bytes, the file has 14"),
        (images(2)[:-1], "truncated: its header promises shape (2, 2, 3) of uint8, 28 bytes in all, and there are 27"),
        (images(2) + b"\0", "too long: its header promises shape (2, 2, 3) of uint8, 28 bytes in all"),
        (idx_bytes(0x0E, (2**32 - 1,) * 9, b""), "truncated: its header promises"),
        (gzip.compress(images(2), mtime=0)[:-9], "damaged gzip file: "),
        (gzip.compress(images(2), mtime=0)[:12] + b"\xff" * 20, "damaged gzip file: "),
        (gzip.compress(images(2), mtime=0)[:-5] + b"\0\0\0\0\0", "damaged gzip file: "),
        (b"\x1f\x8b", "damaged gzip file: "),
    ],
)
def test_damaged_file_is_refused(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    refused(lambda: read_idx(path), f"{path}: {message}", "ownload")


def test_missing_file_is_refused(tmp_path):
    refused(lambda: read_idx(tmp_path / "absent"), f"{tmp_path / 'absent'}: cannot be read: ", "Check the path.")
    refused(lambda: read_idx(tmp_path), f"{tmp_path}: cannot be read: ")


def test_folder(folder):
    data = load_idx_folder(folder)
    assert [a.shape for a in data] == [(4, 2, 3), (4,), (2, 2, 3), (2,)]
    assert data.train_labels.tolist() == [0, 1, 2, 1]
    assert data.test_labels.dtype == np.int64


def test_folder_with_other_spellings(folder):
    for name, new in zip(NAMES, ("{}.gz", "{}", "{}", "{}.gz"), strict=True):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        new_name = new.format(re.sub("-idx", ".idx", name) if "images" in name else name)
        (folder / new_name).write_bytes(gzip.compress(content, mtime=0) if new_name.endswith(".gz") else content)
    assert load_idx_folder(str(folder)).test_images.shape == (2, 2, 3)


@pytest.mark.parametrize("name", NAMES)
def test_missing_file_of_the_four(folder, name):
    (folder / name).unlink()
    refused(lambda: load_idx_folder(folder), f"{folder}: no file {name} (nor ", "Put the data set's four files there.")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (0, images(5), "train-images-idx3-ubyte holds 5 images, "),
        (3, labels(1), "t10k-labels-idx1-ubyte 1 labels. Take both files from the same data set."),
        (0, labels(1, 2), "images need 3 dimensions (count, height, width), this file has 1: shape (2,)"),
        (1, images(4), "labels need 1 dimension of integers, this file has shape (4, 2, 3) of uint8"),
        (
            1,
            idx_bytes(0x0D, (4,), bytes(16)),
            "labels need 1 dimension of integers, this file has shape (4,) of float32",
        ),
        (1, idx_bytes(0x09, (4,), b"\0\xff\0\0"), "train-labels-idx1-ubyte: label -1 at index 1."),
        (2, images(2, 3, 3), "training images of 2x3 pixels and test images of 3x3."),
        (3, labels(1, 7), "the test labels reach 7, the training labels only 2."),
    ],
)
def test_files_that_do_not_fit(folder, name, content, message):
    (folder / NAMES[name]).write_bytes(content)
    refused(lambda: load_idx_folder(folder), folder, message)


def test_no_images(folder):
    (folder / NAMES[2]).write_bytes(images(0))
    (folder / NAMES[3]).write_bytes(labels())
    refused(lambda: load_idx_folder(folder), f"{folder / NAMES[2]}: no images in it: shape (0, 2, 3).")
