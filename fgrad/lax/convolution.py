"""Convolutions of any number of spatial axes, in any layout."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..primitives.family import p
from .operands import Array, dtype_of, ints, shape_of, strict

Padding: TypeAlias = str | Sequence[tuple[int, int]]
"""'VALID', 'SAME', 'SAME_LOWER', or a pair (low, high) per spatial axis."""


class ConvDimensionNumbers(NamedTuple):
    """Where the axes of a convolution stand: three tuples of axis numbers.

    `lhs_spec`: batch, features, spatial axes of the input. `rhs_spec`: output features, input features, spatial axes
    of the kernel. `out_spec`: batch, features, spatial axes of the result.
    """

    lhs_spec: tuple[int, ...]
    rhs_spec: tuple[int, ...]
    out_spec: tuple[int, ...]


ConvGeneralDilatedDimensionNumbers: TypeAlias = ConvDimensionNumbers | tuple[str, str, str] | None


def conv_dimension_numbers(
    lhs_shape: Sequence[int], rhs_shape: Sequence[int], dimension_numbers: ConvGeneralDilatedDimensionNumbers
) -> ConvDimensionNumbers:
    """The axis numbers that three strings such as ("NHWC", "HWIO", "NHWC") stand for.

    N: batch, C: features, I and O: input and output features of the kernel, any other letters: spatial axes, in the
    order of the kernel's. None stands for ("NC…", "OI…", "NC…"); a ConvDimensionNumbers is returned as it is. Raises
    `ShapeError` for strings that do not name the axes of these shapes.

    >>> from fgrad import lax
    >>> lax.conv_dimension_numbers((8, 28, 28, 3), (5, 5, 3, 16), ("NHWC", "HWIO", "NHWC"))
    ConvDimensionNumbers(lhs_spec=(0, 3, 1, 2), rhs_spec=(3, 2, 0, 1), out_spec=(0, 3, 1, 2))
    """
    ndim = len(lhs_shape)
    if ndim < 2 or len(rhs_shape) != ndim:
        what = "convolution: input and kernel need the same number of axes, two beside the spatial ones"
        raise ShapeError(message(what, got=f"shapes {tuple(lhs_shape)} and {tuple(rhs_shape)}", do="reshape them"))
    if dimension_numbers is None:
        return ConvDimensionNumbers(*[tuple(range(ndim))] * 3)
    specs = tuple(dimension_numbers)
    if len(specs) == 3 and all(isinstance(spec, str) for spec in specs):
        spatial = [letter for letter in specs[1] if letter not in "OI"]
        wanted = [["N", "C", *spatial], ["O", "I", *spatial], ["N", "C", *spatial]]
        if any(sorted(s) != sorted(w) for s, w in zip(specs, wanted, strict=True)) or len(set(specs[1])) != ndim:
            what = (
                f"convolution: dimension numbers must name {ndim} axes with N, C; O, I; N, C and the same other letters"
            )
            raise ShapeError(message(what, got=specs, do='write for instance ("NHWC", "HWIO", "NHWC")'))
        specs = tuple([tuple(map(spec.index, letters)) for spec, letters in zip(specs, wanted, strict=True)])
    elif len(specs) != 3 or any(sorted(spec) != list(range(ndim)) for spec in specs):
        what = f"convolution: dimension numbers must be three strings or a ConvDimensionNumbers of {ndim} axes each"
        raise ShapeError(message(what, got=dimension_numbers, do='write for instance ("NHWC", "HWIO", "NHWC")'))
    return ConvDimensionNumbers(*[ints(spec) for spec in specs])


def padtype_to_pads(
    in_shape: Sequence[int], window_shape: Sequence[int], window_strides: Sequence[int], padding: str
) -> list[tuple[int, int]]:
    """The (low, high) per axis that 'VALID', 'SAME' or 'SAME_LOWER' stand for.

    'SAME' gives ceil(size / stride) positions; where the zeros cannot be shared out equally, one more goes behind, or,
    for 'SAME_LOWER', in front. Raises `ShapeError` for another word.

    >>> from fgrad import lax
    >>> lax.padtype_to_pads((10, 10), (3, 4), (1, 1), "SAME")
    [(1, 1), (1, 2)]
    """
    kind = str(padding).upper()
    if kind == "VALID":
        return [(0, 0)] * len(in_shape)
    if kind not in ("SAME", "SAME_LOWER"):
        what = "the padding must be 'VALID', 'SAME', 'SAME_LOWER' or one (low, high) per axis"
        raise ShapeError(message(what, got=repr(padding), do="choose one of these"))
    pads = []
    for n, k, s in zip(in_shape, window_shape, window_strides, strict=True):
        missing = max((-(-n // s) - 1) * s + k - n, 0)
        less, more = missing // 2, missing - missing // 2
        pads.append((less, more) if kind == "SAME" else (more, less))
    return pads


def dilated(sizes: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Sizes with `dilation` - 1 places between neighbours."""
    return tuple((n - 1) * d + 1 if n else 0 for n, d in zip(sizes, dilation, strict=True))


def per_axis(name: str, values: Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """One positive integer per axis; ones for None. Raises `ShapeError` for anything else."""
    found = (1,) * rank if values is None else ints(values)
    if len(found) != rank or min(found, default=1) < 1:
        what = f"{name} must hold one positive integer for each of {rank} axes"
        raise ShapeError(message(what, got=values, do="correct it, or leave it out for ones"))
    return found


def pairs(padding: Any, rank: int) -> list[tuple[int, int]]:
    """One (low, high) per axis. Raises `ShapeError` for anything else."""
    if len(padding) != rank or any(not isinstance(pair, Iterable) or len(tuple(pair)) != 2 for pair in padding):
        what = f"the padding must be 'VALID', 'SAME', 'SAME_LOWER' or one (low, high) for each of {rank} axes"
        raise ShapeError(message(what, got=repr(padding), do="choose one of these"))
    return [ints(pair) for pair in padding]  # type: ignore[misc]


def padded_shape(
    name: str, shape: Sequence[int], dilation: Sequence[int], pads: Sequence[tuple[int, int]]
) -> tuple[int, ...]:
    """The shape of an array with `dilation` - 1 places between neighbours, and padding around."""
    sizes = tuple(lo + n + hi for n, (lo, hi) in zip(dilated(shape, dilation), pads, strict=True))
    if min(sizes, default=0) < 0:
        what = f"{name}: the padding cuts off more than there is"
        raise ShapeError(message(what, got=f"{pads} for the shape {tuple(shape)}", do="cut off less"))
    return sizes


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: ConvGeneralDilatedDimensionNumbers = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """The convolution of machine learning: products of a kernel with the windows of an input, summed over features.

    lhs: input, by default (batch, features, *spatial). rhs: kernel, by default (output features, input features,
    *spatial), not mirrored. The result has the layout of the input; `dimension_numbers` names other layouts, see
    `conv_dimension_numbers`. Both have one dtype, numbers.

    window_strides: the step from window to window, per spatial axis. padding: 'VALID' (windows inside the input),
    'SAME' (ceil(size / stride) windows), 'SAME_LOWER', or (low, high) zeros per spatial axis; negative ones cut off.
    lhs_dilation, rhs_dilation: the distance of neighbours in the input (zeros between them), and in the kernel.

    feature_group_count: groups of features, convolved apart; the kernel then has as many times fewer input features.
    batch_group_count: groups of the batch, of which each sees its part of the output features; the result has as many
    times fewer images. precision is ignored. preferred_element_type as in `dot_general`.

    Raises `ShapeError` for shapes, groups and numbers per axis that do not fit, `DtypeError` for dtypes.

    >>> from fgrad import lax
    >>> image, kernel = np.ones((1, 4, 4, 3)), np.ones((3, 3, 3, 2))
    >>> lax.conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))[0, :, :, 0]
    array([[27., 18.],
           [18., 12.]])
    """
    x, w, numbers, narrow = _canonical(lhs, rhs, dimension_numbers, preferred_element_type)
    rank = x.ndim - 2
    strides = per_axis("window_strides", window_strides, rank)
    spread = per_axis("lhs_dilation", lhs_dilation, rank)
    dilation = per_axis("rhs_dilation", rhs_dilation, rank)
    if isinstance(padding, str):
        if max(spread, default=1) > 1:
            what = "convolution: a word as padding does not say what it means for a dilated input"
            raise ShapeError(message(what, got=repr(padding), do="give (low, high) pairs, or use conv_transpose"))
        pads = padtype_to_pads(x.shape[1:-1], dilated(w.shape[:-2], dilation), strides, padding)
    else:
        pads = pairs(padding, rank)
    x, groups = _grouped(x, w, operator.index(feature_group_count), operator.index(batch_group_count))
    return _restored(_convolved(x, w, strides, pads, spread, dilation, groups), numbers, narrow)


def _convolved(
    x: Any,
    w: Any,
    strides: tuple[int, ...],
    pads: Sequence[tuple[int, int]],
    spread: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Any:
    """The convolution in the layout of the primitives; `spread`: the dilation of the input."""
    window = dilated(w.shape[:-2], dilation)
    padded = padded_shape("convolution", x.shape[1:-1], spread, pads)
    low = tuple(lo for lo, _ in pads)
    params = {
        "strides": strides,
        "low": low,
        "dilation": dilation,
        "sizes": tuple(max(0, (n - k) // s + 1) for n, k, s in zip(padded, window, strides, strict=True)),
        "groups": groups,
    }
    if max(spread, default=1) == 1:
        return p.conv(x, w, **params)
    if max(strides) == 1:  # each input is spread by the kernel: no products with the zeros between inputs
        params |= {"strides": spread, "low": tuple(k - 1 - lo for k, lo in zip(window, low, strict=True))}
        return p.conv_input_grad(_mirrored(w, groups), x, **params)
    none = (0,) * x.ndim
    spaced = p.pad(x, x.dtype.type(0), low=none, high=none, interior=(0, *[d - 1 for d in spread], 0))
    return p.conv(spaced, w, **params)


def _canonical(
    lhs: Array, rhs: Array, dimension_numbers: ConvGeneralDilatedDimensionNumbers, preferred: Any
) -> tuple[Any, Any, ConvDimensionNumbers, np.dtype | None]:
    """Input (N, *spatial, C), kernel (*spatial, I, O), where the axes were, and the dtype to convert the result to."""
    x, w = strict(lhs), strict(rhs)
    if x.dtype != w.dtype or x.dtype.kind == "b":
        what = "convolution: input and kernel must be arrays of numbers of one dtype"
        raise DtypeError(message(what, got=f"{x.dtype} and {w.dtype}", do="convert one of them"))
    numbers = conv_dimension_numbers(x.shape, w.shape, dimension_numbers)
    (batch, features, *spatial), (out, inside, *taps), _ = numbers
    x, w = _arranged(x, (batch, *spatial, features)), _arranged(w, (*taps, inside, out))
    if preferred is None:
        return x, w, numbers, None
    preferred = dtype_of(preferred)
    wide = np.result_type(x.dtype, preferred)
    if wide != x.dtype:
        x, w = (p.convert_element_type(v, dtype=wide) for v in (x, w))
    return x, w, numbers, None if wide == preferred else preferred


def _restored(y: Any, numbers: ConvDimensionNumbers, narrow: np.dtype | None) -> Any:
    """A result (N, *spatial, O) in the layout that was asked for, and at that dtype."""
    batch, features, *spatial = numbers.out_spec
    y = _arranged(y, tuple(int(a) for a in np.argsort((batch, *spatial, features))))
    return y if narrow is None else p.convert_element_type(y, dtype=narrow)


def _arranged(v: Any, axes: tuple[int, ...]) -> Any:
    return v if axes == tuple(range(v.ndim)) else p.transpose(v, axes=axes)


def _grouped(x: Any, w: Any, feature_groups: int, batch_groups: int) -> tuple[Any, int]:
    """The input with batch groups turned into feature groups, and their number; checks that they divide the shapes."""
    inside, out = w.shape[-2:]
    images, features = x.shape[0], x.shape[-1]
    if feature_groups < 1 or batch_groups < 1 or (feature_groups > 1 and batch_groups > 1):
        what = "convolution: feature_group_count and batch_group_count must be positive, and one of them 1"
        raise ShapeError(message(what, got=f"{feature_groups} and {batch_groups}", do="set one of them"))
    if features != inside * feature_groups or out % feature_groups:
        what = f"convolution: {features} features of the input do not fit the kernel's"
        got = f"{inside} input and {out} output features, {feature_groups} groups"
        raise ShapeError(message(what, got=got, do="check dimension_numbers and feature_group_count"))
    if batch_groups == 1:
        return x, feature_groups
    if images % batch_groups or out % batch_groups:
        what = f"convolution: {batch_groups} groups do not divide the batch and the output features"
        raise ShapeError(message(what, got=f"{images} and {out}", do="check batch_group_count"))
    x = p.reshape(x, shape=(batch_groups, images // batch_groups, *x.shape[1:]))
    x = p.transpose(x, axes=(*range(1, x.ndim - 1), 0, x.ndim - 1))
    return p.reshape(x, shape=(*x.shape[:-2], batch_groups * features)), batch_groups


def _mirrored(w: Any, groups: int) -> Any:
    """The kernel with spatial axes reversed, and input and output features exchanged within each group."""
    *taps, inside, out = w.shape
    rank = len(taps)
    w = p.reshape(p.rev(w, axes=tuple(range(rank))), shape=(*taps, inside, groups, out // groups))
    w = p.transpose(w, axes=(*range(rank), rank + 2, rank + 1, rank))
    return p.reshape(w, shape=(*taps, out // groups, groups * inside))


def conv(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """`conv_general_dilated` of an input (batch, features, *spatial) and a kernel (output, input features, *spatial).

    >>> from fgrad import lax
    >>> lax.conv(np.ones((1, 1, 4)), np.array([[[1.0, 2.0]]]), (1,), "VALID")
    array([[[3., 3., 3.]]])
    """
    return conv_general_dilated(
        lhs, rhs, window_strides, padding, precision=precision, preferred_element_type=preferred_element_type
    )


def conv_with_general_padding(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None,
    rhs_dilation: Sequence[int] | None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """`conv_general_dilated` in the default layout, without groups.

    >>> from fgrad import lax
    >>> lax.conv_with_general_padding(np.ones((1, 1, 3)), np.ones((1, 1, 2)), (1,), [(1, 0)], None, (2,))
    array([[[1., 2.]]])
    """
    return conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def conv_transpose(
    lhs: Array,
    rhs: Array,
    strides: Sequence[int],
    padding: Padding,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: ConvGeneralDilatedDimensionNumbers = None,
    transpose_kernel: bool = False,
    precision: Any = None,
    preferred_element_type: Any = None,
    use_consistent_padding: bool = False,
) -> Array:
    """The convolution that enlarges: `strides` - 1 zeros between neighbours of the input, then a kernel at every place.

    By default the input is (batch, *spatial, features) and the kernel (*spatial, input features, output features).
    padding: 'SAME' (size · stride places), 'VALID' (all that windows inside the result would have come from), or
    (low, high) zeros per spatial axis around the dilated input; with `use_consistent_padding` the pairs are those of
    the convolution of which this is the transpose. transpose_kernel: the kernel is that of this convolution, so the
    result is its gradient by the input; else it is used as it is. The others as in `conv_general_dilated`.

    Raises `ShapeError` and `DtypeError` as `conv_general_dilated`.

    >>> from fgrad import lax
    >>> lax.conv_transpose(np.array([[[1.0], [10.0]]]), np.array([[[1.0]], [[2.0]], [[3.0]]]), (2,), "VALID").ravel()
    array([ 3.,  2., 31., 20., 10.])
    """
    ndim = len(shape_of(lhs))
    if dimension_numbers is None and len(shape_of(rhs)) == ndim >= 2:
        spatial = tuple(range(1, ndim - 1))
        around = (0, ndim - 1, *spatial)
        dimension_numbers = ConvDimensionNumbers(around, (ndim - 1, ndim - 2, *range(ndim - 2)), around)
    x, w, numbers, narrow = _canonical(lhs, rhs, dimension_numbers, preferred_element_type)
    rank = x.ndim - 2
    spread = per_axis("strides", strides, rank)
    dilation = per_axis("rhs_dilation", rhs_dilation, rank)
    window = dilated(w.shape[:-2], dilation)
    if isinstance(padding, str):
        pads = [_enlarging(k, s, padding) for k, s in zip(window, spread, strict=True)]
    else:
        pads = pairs(padding, rank)
        if use_consistent_padding:
            pads = [(k - 1 - lo, k - 1 - hi) for k, (lo, hi) in zip(window, pads, strict=True)]
    if transpose_kernel:
        w = _mirrored(w, 1)
    _grouped(x, w, 1, 1)
    return _restored(_convolved(x, w, (1,) * rank, pads, spread, dilation, 1), numbers, narrow)


def _enlarging(k: int, stride: int, padding: str) -> tuple[int, int]:
    """(low, high) around an input dilated by the stride, for a window of k (as Keras counts)."""
    kind = padding.upper()
    if kind == "VALID":
        return k - 1, stride - 1 + max(k - stride, 0)
    if kind != "SAME":
        what = "conv_transpose: the padding must be 'VALID', 'SAME' or one (low, high) per spatial axis"
        raise ShapeError(message(what, got=repr(padding), do="choose one of these"))
    both = k + stride - 2
    low = k - 1 if stride > k - 1 else -(-both // 2)
    return low, both - low
