"""Convolutions against loops, scipy.signal, numbers of JAX 0.10.2 and finite differences; errors by their texts."""

import itertools

import numpy as np
import pytest
import scipy.signal
from pinned import says

import fgrad
from fgrad import lax
from fgrad.core.errors import DtypeError, ShapeError
from fgrad.primitives import conv as module
from fgrad.testing import check_close, check_grads, check_vmap

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 4, 6, 5))  # NCHW
W = RNG.normal(size=(6, 4, 3, 2))  # OIHW
NHWC = ("NHWC", "HWIO", "NHWC")


def loops(x, w, strides, pads, spread, dilation, groups=1):
    """A convolution in the default layout, window by window."""
    spatial = tuple(range(2, x.ndim))
    shape = [(n - 1) * d + 1 if n else 0 for n, d in zip(x.shape[2:], spread, strict=True)]
    wide = np.zeros((*x.shape[:2], *shape), x.dtype)
    wide[(..., *[slice(None, None, d) for d in spread])] = x
    wide = np.pad(wide, [(0, 0), (0, 0), *[(max(lo, 0), max(hi, 0)) for lo, hi in pads]])
    wide = wide[(..., *[slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi) in zip(wide.shape[2:], pads, strict=True)])]
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    sizes = [max(0, (n - r) // s + 1) for n, r, s in zip(wide.shape[2:], reach, strides, strict=True)]
    y = np.zeros((x.shape[0], w.shape[0], *sizes), x.dtype)
    each = w.shape[0] // groups
    for n, o, *t in np.ndindex(*y.shape):
        features = slice(o // each * w.shape[1], (o // each + 1) * w.shape[1])
        starts = [i * s for i, s in zip(t, strides, strict=True)]
        window = [slice(i, i + r, d) for i, r, d in zip(starts, reach, dilation, strict=True)]
        y[(n, o, *t)] = (wide[(n, features, *window)] * w[o]).sum(axis=(0, *[a - 1 for a in spatial]))
    return y


def drawn(seed):
    """A random convolution: operands in the default layout, and its geometry."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(0, 4))
    some = lambda low, high: tuple(rng.integers(low, high, rank, endpoint=True).tolist())  # noqa: E731
    groups = int(rng.integers(1, 4))
    kind = seed % 3  # plain, dilated input, both dilated input and strides
    c, o = int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
    x = rng.normal(size=(int(rng.integers(1, 3)), c * groups, *some(1, 6)))
    w = rng.normal(size=(o, c, *some(1, 3)))
    pads = [(int(lo), int(hi)) for lo, hi in zip(some(-1, 3), some(0, 3), strict=True)]
    strides = (1,) * rank if kind == 1 else some(1, 3)
    return x, w, strides, pads, (1,) * rank if kind == 0 else some(1, 3), some(1, 2), groups


@pytest.mark.parametrize("seed", range(45))
def test_values_are_those_of_loops(seed):
    x, w, *geometry, groups = drawn(seed)
    f = lambda x, w: lax.conv_general_dilated(x, w, *geometry, feature_group_count=groups)  # noqa: E731
    want = loops(x, w, *geometry, groups)
    got = f(x, w)
    assert got.flags.c_contiguous and got.flags.writeable
    check_close(got, want)
    check_close(fgrad.jit(f)(x, w), want)
    check_close(f(x.astype("f4"), w.astype("f4")), want.astype("f4"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(9))
def test_derivatives_and_batches(seed):
    x, w, *geometry, groups = drawn(seed)
    f = lambda x, w: lax.conv_general_dilated(x, w, *geometry, feature_group_count=groups)  # noqa: E731
    check_grads(f, (x, w))
    xs, ws = np.stack([x, x + 1, -x]), np.stack([w, w - 1, 2 * w])
    pull = lambda x, w: fgrad.vjp(f, x, w)[1](np.cos(f(x, w)))  # noqa: E731
    for axes in ((0, 0), (0, None), (None, 0)):
        args = (xs if axes[0] == 0 else x, ws if axes[1] == 0 else w)
        check_vmap(f, args, axes)
        check_vmap(pull, args, axes)


def test_linear_in_each_operand_the_transposes_are_exact():
    x, w, *geometry, groups = drawn(3)
    f = lambda x, w: lax.conv_general_dilated(x, w, *geometry, feature_group_count=groups)  # noqa: E731
    y, pull = fgrad.vjp(f, x, w)
    ct = RNG.normal(size=y.shape)
    dx, dw = pull(ct)
    assert dx.shape == x.shape and dw.shape == w.shape
    check_close((dx * x).sum(), (ct * y).sum())
    check_close((dw * w).sum(), (ct * y).sum())


@pytest.mark.parametrize("mode", ["valid", "same"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_against_scipy(mode, rank):
    shape, taps = (9, 8, 7)[:rank], (4, 3, 2)[:rank]
    x, w = RNG.normal(size=(1, 1, *shape)), RNG.normal(size=(1, 1, *taps))
    want = scipy.signal.correlate(x[0, 0], w[0, 0], mode, method="direct")
    pads = "VALID" if mode == "valid" else "SAME_LOWER"  # SciPy centres an even kernel to the left
    check_close(lax.conv(x, w, (1,) * rank, pads)[0, 0], want)
    strides = (2, 3, 1)[:rank]
    if mode == "valid":
        check_close(lax.conv(x, w, strides, "VALID")[0, 0], want[tuple(slice(None, None, s) for s in strides)])


def test_more_windows_than_fit_a_block():
    x, w = RNG.normal(size=(3, 90, 120, 3)), RNG.normal(size=(7, 9, 3, 2))
    want = sum(
        np.stack([scipy.signal.correlate(x[..., c], w[None, ..., c, o], "valid", "fft") for o in range(2)], -1)
        for c in range(3)
    )
    f = lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=NHWC)  # noqa: E731
    row = 112 * 7 * 9 * 3 * 8
    assert module._BLOCK // row < 84  # rows of one image that fit
    check_close(f(x, w), want)
    ct = RNG.normal(size=want.shape)
    y, pull = fgrad.vjp(f, x, w)
    dx, dw = pull(ct)
    check_close((dx * x).sum(), (ct * y).sum(), rtol=1e-9)
    few = np.s_[2:5, 1:3]
    g = lambda v: (f(x, w + v) * ct).sum()  # noqa: E731
    step = np.zeros_like(w)
    step[few] = RNG.normal(size=w[few].shape)
    check_close((dw * step).sum(), g(step) - g(0 * step), rtol=1e-8)
    step = RNG.normal(size=x.shape)
    check_close((dx * step).sum(), (f(step, w) * ct).sum(), rtol=1e-9)
    signal, taps = RNG.normal(size=30_000), RNG.normal(size=40)
    got = lax.conv(signal[None, None], taps[None, None], (1,), "VALID")[0, 0]
    check_close(got, scipy.signal.correlate(signal, taps, "valid", "fft"), rtol=1e-9, atol=1e-9)


def test_every_layout():
    want = lax.conv_general_dilated(X, W, (2, 1), [(1, 0), (0, 2)], None, (1, 2))
    for x_letters, w_letters in itertools.product(["NCHW", "NHWC", "HCNW", "CWHN"], ["OIHW", "HWIO", "IHOW"]):
        for y_letters in ("NCHW", "NHWC", "WNCH"):
            x = np.transpose(X, ["NCHW".index(a) for a in x_letters])
            w = np.transpose(W, ["OIHW".index(a) for a in w_letters])
            f = lambda x, w, names=(x_letters, w_letters, y_letters): lax.conv_general_dilated(  # noqa: E731
                x, w, (2, 1), [(1, 0), (0, 2)], None, (1, 2), names
            )
            got = f(x, w)
            check_close(got, np.transpose(want, ["NCHW".index(a) for a in y_letters]))
            check_close(fgrad.jit(f)(x, w), got)
    # numbers per axis are in the order of the kernel's letters
    swapped = ("NCHW", "OIWH", "NCHW")
    w = W.swapaxes(2, 3)
    check_close(lax.conv_general_dilated(X, w, (1, 2), [(0, 2), (1, 0)], None, (2, 1), swapped), want)
    numbers = lax.conv_dimension_numbers(X.shape, w.shape, swapped)
    assert numbers == lax.ConvDimensionNumbers((0, 1, 3, 2), (0, 1, 2, 3), (0, 1, 3, 2))
    check_close(lax.conv_general_dilated(X, w, (1, 2), [(0, 2), (1, 0)], None, (2, 1), numbers), want)
    assert lax.conv_dimension_numbers(X.shape, W.shape, None) == ((0, 1, 2, 3),) * 3


def test_batch_groups():
    x, w = RNG.normal(size=(6, 2, 5)), RNG.normal(size=(9, 2, 2))
    f = lambda x, w: lax.conv_general_dilated(x, w, (1,), "VALID", batch_group_count=3)  # noqa: E731
    parts = zip(np.split(x, 3), np.split(w, 3), strict=True)
    want = np.concatenate([loops(a, b, (1,), [(0, 0)], (1,), (1,)) for a, b in parts], axis=1)
    check_close(f(x, w), want)
    check_grads(f, (x, w))
    check_vmap(f, (np.stack([x, -x]), w), (0, None))


def wave(*shape):
    return np.sin(np.arange(np.prod(shape)) * 0.7).reshape(shape)


def swell(*shape):
    return np.cos(np.arange(np.prod(shape)) * 0.3).reshape(shape)


# For each: shapes, the convolution, and of the result, both cotangents, and both second derivatives below: shape, first
# and last element, sum weighted by 1, 2, 3, ...; all by JAX 0.10.2.
GOLDEN = [
    ("nhwc", ((2, 5, 6, 3), (3, 2, 3, 4)),
     lambda x, w: lax.conv_general_dilated(x, w, (2, 1), "SAME", None, (1, 2), ("NHWC", "HWIO", "NHWC")),
     [((2, 3, 6, 4), 0.6676233214693111, 1.1065928480364648, -6469.598842826077),
      ((2, 5, 6, 3), 0.8572657378800898, -0.12764835416493295, 808.0781967104901),
      ((3, 2, 3, 4), 2.653976235709657, 1.0785786988313493, 815.3319473839065),
      ((2, 5, 6, 3), 3.418417540669367, -1.8699911806887313, -1262.485319017816),
      ((3, 2, 3, 4), -17.93503833096774, -11.16558293093618, -6489.094658286524)]),
    ("groups", ((1, 4, 7), (6, 2, 3)),
     lambda x, w: lax.conv_general_dilated(x, w, (2, ), [(1, -1)], None, None, None, 2),
     [((1, 6, 3), 0.13104244297244894, 1.6442178174107573, 0.8722728602001197),
      ((1, 4, 7), 1.2826526023311142, 0.0, 185.94297076354476),
      ((6, 2, 3), -0.567346921368829, 1.1714056828563586, 16.67620736517838),
      ((1, 4, 7), 0.6593286168500821, 0.0, -178.86672277516584),
      ((6, 2, 3), 0.0877805471418743, -1.175007067093393, -170.2280099383431)]),
    ("batch groups", ((4, 2, 5), (4, 2, 2)),
     lambda x, w: lax.conv_general_dilated(x, w, (1, ), "SAME_LOWER", batch_group_count=2),
     [((2, 4, 5), -0.21805035103402587, 0.8461940812442934, 40.39913913450586),
      ((4, 2, 5), 1.3114675586144258, -1.1553787061669611, -1.9359693135118015),
      ((4, 2, 2), -1.8096782040489625, 1.1001465784793127, 8.997537711240401),
      ((4, 2, 5), 0.7831238096915764, 0.13752276131991265, 355.39430507236546),
      ((4, 2, 2), 1.0953642128813383, 0.9072644846511256, 37.54974977769293)]),
    ("both dilated", ((3, 2, 2, 4), (2, 2, 2, 3)),
     lambda x, w: lax.conv_general_dilated(x, w, (2, 3), [(1, 2), (0, 3)], (3, 2), (2, 1), ("HNCW", "OIWH", "CHWN")),
     [((2, 2, 6, 2), 0.0, 1.5340577576899652, 71.09163853144781),
      ((3, 2, 2, 4), 0.0, 0.04162170470857002, 2.0679628398938243),
      ((2, 2, 2, 3), 0.9413671986519601, -1.052868198295426, -17.938651293758973),
      ((3, 2, 2, 4), 0.0, 0.5848598391539653, -51.56908781073415),
      ((2, 2, 2, 3), -0.328028117634268, 0.5571517053512167, -12.82656311236481)]),
    ("spread", ((2, 1, 3, 3), (2, 1, 2, 3)),
     lambda x, w: lax.conv_general_dilated(x, w, (1, 1), [(2, 0), (-1, 1)], (2, 3), None),
     [((2, 2, 6, 5), 0.0, 0.6119511029849317, 120.22867859732378),
      ((2, 1, 3, 3), 0.0, 1.2719510485055388, 21.155899782436478),
      ((2, 1, 2, 3), -0.12214002234422101, 0.20483225698289173, 1.0160149750364895),
      ((2, 1, 3, 3), 0.0, -0.776780359376723, -19.617896153160174),
      ((2, 1, 2, 3), -0.07908654909982164, -0.8249552656156176, -9.973920381151133)]),
    ("transpose", ((2, 3, 4, 2), (3, 2, 2, 3)),
     lambda x, w: lax.conv_transpose(x, w, (2, 3), "SAME"),
     [((2, 6, 12, 3), -0.5728326678565266, 0.0, -104.84813544614326),
      ((2, 3, 4, 2), -1.918132079812013, -2.0557962645568724, 2116.914950727411),
      ((3, 2, 2, 3), -2.2889548001243285, -4.624368909116679, 94.3837711252788),
      ((2, 3, 4, 2), 2.7513382597317886, 2.1409533943173757, 502.3835963633846),
      ((3, 2, 2, 3), -1.9769723379434447, -2.1562108710521537, 8.236421795807502)]),
    ("transposed kernel", ((1, 3, 4), (4, 2, 4)),
     lambda x, w: lax.conv_transpose(x, w, (3, ), "VALID", (2, ), transpose_kernel=True),
     [((1, 13, 2), 1.9653509694344224, -1.263863986633438, -21.402510373504377),
      ((1, 3, 4), 0.03561026194900217, -0.4760137368210878, -14.716510781064986),
      ((4, 2, 4), 0.6456655934228419, -0.7488794179583352, -121.48037076486492),
      ((1, 3, 4), 1.8278913176906126, 1.9689704541663782, 141.67804304473393),
      ((4, 2, 4), -0.5461176422278508, 2.6873959858665786, 380.3477465700027)]),
    ("consistent", ((1, 4, 1), (3, 1, 2)),
     lambda x, w: lax.conv_transpose(x, w, (2, ), [(1, 0)], use_consistent_padding=True),
     [((1, 8, 2), 0.0, 0.8246554057146732, 101.10675728611352),
      ((1, 4, 1), -0.5587828189229224, 0.8235945656150162, 4.230409980807504),
      ((3, 1, 2), 1.6164211335177567, -1.541529127082838, -5.912163494499246),
      ((1, 4, 1), 1.252298261873563, -1.5917412518260687, -6.676317106050931),
      ((3, 1, 2), -1.3337216204635638, -0.466239915468023, -8.42660004297478)]),
    ("volume", ((1, 1, 3, 4, 3), (2, 1, 2, 1, 2)),
     lambda x, w: lax.conv(x, w, (1, 2, 1), "SAME"),
     [((1, 2, 3, 2, 3), 1.5191303017616566, -0.14405738461532244, -25.252013261802087),
      ((1, 1, 3, 4, 3), 0.9415741733110982, 0.0, 27.739055707597),
      ((2, 1, 2, 1, 2), 1.0180340238389454, -3.28719322919237, 25.749103382349293),
      ((1, 1, 3, 4, 3), -0.23896552091577974, 0.0, -25.52750623911509),
      ((2, 1, 2, 1, 2), -6.0042022177527885, -2.499859983330746, -20.39438954657279)]),
]  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN, ids=[c[0] for c in GOLDEN])
def test_numbers_of_jax(case):
    _, (x_shape, w_shape), f, want = case
    x, w = wave(*x_shape), swell(*w_shape)
    y = f(x, w)
    ct = np.cos(np.arange(y.size) * 1.3).reshape(y.shape)
    gradient = fgrad.grad(lambda x, w: (np.sin(f(x, w)) * ct).sum(), (0, 1))
    seconds = fgrad.vjp(gradient, x, w)[1]((wave(*x_shape)[::-1], wave(*w_shape)[::-1]))
    for v, (shape, *numbers) in zip([y, *fgrad.vjp(f, x, w)[1](ct), *seconds], want, strict=True):
        assert v.shape == shape
        flat = v.ravel()
        check_close(np.array([flat[0], flat[-1], flat @ np.arange(1, v.size + 1)]), np.array(numbers), rtol=1e-9)


def test_conv_transpose_is_the_gradient_of_the_convolution_with_its_kernel():
    for strides, padding, taps in itertools.product([(1,), (2,), (3,)], ["SAME", "VALID"], [(1,), (2,), (4,)]):
        y = RNG.normal(size=(2, 5, 3))
        w = RNG.normal(size=(*taps, 4, 3))
        numbers = ("NHC", "HIO", "NHC")
        up = lax.conv_transpose(y, w, strides, padding, dimension_numbers=numbers, transpose_kernel=True)
        f = lambda x: lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=numbers)  # noqa: B023, E731
        x = np.zeros(up.shape)
        assert f(x).shape == y.shape
        if padding == "VALID" or strides[0] <= taps[0]:  # for wider strides SAME is centred otherwise, as in Keras
            check_close(fgrad.vjp(f, x)[1](y)[0], up)
        check_close(lax.conv_transpose(y, w, strides, padding, transpose_kernel=True), up)


def test_conv_with_general_padding_and_words():
    args = (X, W, (1, 2), [(1, 1), (0, 1)], (2, 1), (1, 2))
    check_close(lax.conv_with_general_padding(*args), loops(*args))
    for word in ("VALID", "SAME", "SAME_LOWER", "same"):
        pads = lax.padtype_to_pads(X.shape[2:], W.shape[2:], (2, 2), word)
        check_close(lax.conv(X, W, (2, 2), word), loops(X, W, (2, 2), pads, (1, 1), (1, 1)))
    assert lax.padtype_to_pads((5, 0, 4), (3, 2, 2), (1, 3, 1), "SAME") == [(1, 1), (0, 0), (0, 1)]
    assert lax.padtype_to_pads((5, 0, 4), (3, 2, 2), (1, 3, 1), "SAME_LOWER") == [(1, 1), (0, 0), (1, 0)]


def test_dtypes():
    for dtype in ("f2", "f4", "f8", "c8", "c16"):
        x, w = X.astype(dtype), W.astype(dtype)
        got = lax.conv(x, w, (1, 1), "SAME")
        assert got.dtype == dtype
        pads = lax.padtype_to_pads(X.shape[2:], W.shape[2:], (1, 1), "SAME")
        tolerance = 2e-2 if dtype == "f2" else 1e-4
        check_close(got, loops(x, w, (1, 1), pads, (1, 1), (1, 1)), rtol=tolerance, atol=tolerance)
    x, w = np.full((1, 1, 3), 100, np.int8), np.full((1, 1, 2), 3, np.int8)
    assert lax.conv(x, w, (1,), "VALID").tolist() == [[[88, 88]]]  # 600 - 512
    wide = lax.conv(x, w, (1,), "VALID", preferred_element_type=np.int32)
    assert wide.dtype == np.int32 and wide.tolist() == [[[600, 600]]]
    assert lax.conv(X.astype("f4"), W.astype("f4"), (1, 1), "SAME", preferred_element_type="f8").dtype == "f8"
    assert lax.conv(X, W, (1, 1), "SAME", preferred_element_type="f4").dtype == "f4"
    z = X + 1j * X[::-1]
    check_grads(lambda x, w: lax.conv(x, w, (2, 2), "SAME"), (z[:1, :, :3, :3], W[:2] * (1 - 0.5j)))


def test_halves_are_summed_in_float32():
    x = np.full((1, 4096, 1), 1.0, np.float16)
    got = lax.conv(x, np.ones((1, 4096, 1), np.float16), (1,), "VALID")
    assert got.tolist() == [[[4096.0]]]


@pytest.mark.parametrize("x_shape, w_shape", [((0, 2, 5), (3, 2, 2)), ((2, 0, 5), (3, 0, 2)), ((2, 2, 5), (0, 2, 2)),
                                              ((2, 2, 1), (3, 2, 2)), ((2, 2, 0), (3, 2, 2))])  # fmt: skip
def test_nothing(x_shape, w_shape):
    f = lambda x, w: lax.conv(x, w, (1,), "VALID")  # noqa: E731
    x, w = np.ones(x_shape), np.ones(w_shape)
    y, pull = fgrad.vjp(f, x, w)
    assert y.shape == (x_shape[0], w_shape[0], max(0, x_shape[2] - 1)) and not y.any()
    assert [v.shape for v in pull(y)] == [x_shape, w_shape] and not any(v.any() for v in pull(y))
    for axes in ((0, 0), (0, None), (None, 0)):
        args = [np.stack([v, v]) if a == 0 else v for v, a in zip((x, w), axes, strict=True)]
        check_vmap(f, args, axes)
        lanes = [v[:0] if a == 0 else v for v, a in zip(args, axes, strict=True)]
        assert fgrad.vmap(f, axes)(*lanes).shape == (0, *y.shape)


def test_special_values_reach_the_windows_that_see_them():
    x = np.zeros((1, 1, 8))
    x[0, 0, 3] = np.nan
    x[0, 0, 6] = np.inf
    y = lax.conv(x, np.ones((1, 1, 2)), (1,), "VALID")[0, 0]
    assert np.array_equal(y, [0, 0, np.nan, np.nan, 0, np.inf, np.inf], equal_nan=True)


def test_operands_are_not_changed_and_not_aliased():
    x, w = X.copy(), np.ones((4, 4, 1, 1))
    y = lax.conv(x, w, (1, 1), "VALID")
    assert np.array_equal(x, X) and not np.shares_memory(x, y)
    assert lax.conv(np.broadcast_to(x[:1], (3, *x.shape[1:])), w, (1, 1), "VALID").shape == (3, 4, 6, 5)


def test_derivatives_are_three_primitives():
    x, w = X.transpose(0, 2, 3, 1), W.transpose(2, 3, 1, 0)
    f = lambda x, w: lax.conv_general_dilated(x, w, (2, 1), "SAME", dimension_numbers=NHWC)  # noqa: E731
    names = lambda g: [e.primitive.name for e in fgrad.make_jaxpr(g)(x, w).eqns]  # noqa: E731
    assert names(f) == ["conv"]
    ct = np.ones(f(x, w).shape)
    assert names(lambda x, w: fgrad.vjp(f, x, w)[1](ct)).count("conv_weight_grad") == 1
    assert names(lambda x, w: fgrad.vjp(f, x, w)[1](ct)).count("conv_input_grad") == 1
    y, kernel = RNG.normal(size=(1, 3, 4)), RNG.normal(size=(2, 4, 5))
    up = fgrad.make_jaxpr(lambda y, w: lax.conv_transpose(y, w, (2,), "SAME"))(y, kernel)
    found = [e.primitive.name for e in up.eqns]
    assert "conv_input_grad" in found and "pad" not in found and "conv" not in found


ERRORS = [
    (lambda: lax.conv(X, W.astype("f4"), (1, 1), "SAME"), DtypeError,
     "convolution: input and kernel must be arrays of numbers of one dtype", "float64 and float32",
     "convert one of them"),
    (lambda: lax.conv(X > 0, W > 0, (1, 1), "SAME"), DtypeError,
     "convolution: input and kernel must be arrays of numbers of one dtype", "bool and bool", "convert one of them"),
    (lambda: lax.conv(X, W[0], (1, 1), "SAME"), ShapeError,
     "convolution: input and kernel need the same number of axes, two beside the spatial ones",
     "shapes (2, 4, 6, 5) and (4, 3, 2)", "reshape them"),
    (lambda: lax.conv(X[0, 0, 0], W[0, 0, 0], (), "SAME"), ShapeError,
     "convolution: input and kernel need the same number of axes, two beside the spatial ones",
     "shapes (5,) and (2,)", "reshape them"),
    (lambda: lax.conv(X, W[:, :3], (1, 1), "SAME"), ShapeError,
     "convolution: 4 features of the input do not fit the kernel's", "3 input and 6 output features, 1 groups",
     "check dimension_numbers and feature_group_count"),
    (lambda: lax.conv_general_dilated(X, W[:4, :1], (1, 1), "SAME", feature_group_count=3), ShapeError,
     "convolution: 4 features of the input do not fit the kernel's", "1 input and 4 output features, 3 groups",
     "check dimension_numbers and feature_group_count"),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", batch_group_count=4), ShapeError,
     "convolution: 4 groups do not divide the batch and the output features", "2 and 6", "check batch_group_count"),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", None, None, None, 2, 2), ShapeError,
     "convolution: feature_group_count and batch_group_count must be positive, and one of them 1", "2 and 2",
     "set one of them"),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", feature_group_count=0), ShapeError,
     "convolution: feature_group_count and batch_group_count must be positive, and one of them 1", "0 and 1",
     "set one of them"),
    (lambda: lax.conv(X, W, (1,), "SAME"), ShapeError,
     "window_strides must hold one positive integer for each of 2 axes", "(1,)",
     "correct it, or leave it out for ones"),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", None, (0, 1)), ShapeError,
     "rhs_dilation must hold one positive integer for each of 2 axes", "(0, 1)",
     "correct it, or leave it out for ones"),
    (lambda: lax.conv(X, W, (1, 1), "FULL"), ShapeError,
     "the padding must be 'VALID', 'SAME', 'SAME_LOWER' or one (low, high) per axis", "'FULL'",
     "choose one of these"),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), [(1, 1)]), ShapeError,
     "the padding must be 'VALID', 'SAME', 'SAME_LOWER' or one (low, high) for each of 2 axes", "[(1, 1)]",
     "choose one of these"),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), [1, 1]), ShapeError,
     "the padding must be 'VALID', 'SAME', 'SAME_LOWER' or one (low, high) for each of 2 axes", "[1, 1]",
     "choose one of these"),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), [(-3, -4), (0, 0)]), ShapeError,
     "convolution: the padding cuts off more than there is", "[(-3, -4), (0, 0)] for the shape (6, 5)",
     "cut off less"),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", (2, 1)), ShapeError,
     "convolution: a word as padding does not say what it means for a dilated input", "'SAME'",
     "give (low, high) pairs, or use conv_transpose"),
    (lambda: lax.conv_transpose(X, W, (2, 2), "SAME_LOWER", dimension_numbers=("NCHW", "OIHW", "NCHW")), ShapeError,
     "conv_transpose: the padding must be 'VALID', 'SAME' or one (low, high) per spatial axis", "'SAME_LOWER'",
     "choose one of these"),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHX", "NCHW")), ShapeError,
     "convolution: dimension numbers must name 4 axes with N, C; O, I; N, C and the same other letters",
     "('NCHW', 'OIHX', 'NCHW')", 'write for instance ("NHWC", "HWIO", "NHWC")'),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", dimension_numbers=("NC", "OI", "NC")), ShapeError,
     "convolution: dimension numbers must name 4 axes with N, C; O, I; N, C and the same other letters",
     "('NC', 'OI', 'NC')", 'write for instance ("NHWC", "HWIO", "NHWC")'),
    (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", dimension_numbers=((0, 1), (0, 1), (0, 1))), ShapeError,
     "convolution: dimension numbers must be three strings or a ConvDimensionNumbers of 4 axes each",
     "((0, 1), (0, 1), (0, 1))", 'write for instance ("NHWC", "HWIO", "NHWC")'),
]  # fmt: skip


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case, traced):
    call, error, what, got, do = ERRORS[case]
    with pytest.raises(error) as caught:
        fgrad.jit(lambda _: call())(1.0) if traced else call()
    says(caught.value, what, got, do)


def test_errors_name_the_line():
    def f(x):
        return lax.conv(x, W[:, :3], (1, 1), "SAME")  # here

    for run in (f, fgrad.jit(f)):
        with pytest.raises(ShapeError, match=r"test_conv.py:\d+ in f: return lax.conv"):
            run(X)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda q: q.conv(X, W, strides=(1,), low=(0, 0), dilation=(1, 1), sizes=(6, 5), groups=1), ShapeError,
         "conv: needs two arrays of 4 dimensions and 2 numbers per parameter"),
        (lambda q: q.conv(X, W, strides=(1, 0), low=(0, 0), dilation=(1, 1), sizes=(6, 5), groups=1), ShapeError,
         "conv: strides, dilations and groups must be positive, sizes not negative"),
        (lambda q: q.conv(X, W, strides=(1, 1), low=(0, 0), dilation=(1, 1), sizes=(6, 5), groups=1), ShapeError,
         "conv: batches or channels in 1 groups do not fit together"),
        (lambda q: q.conv_input_grad(X, X > 0, strides=(1, 1), low=(0, 0), dilation=(1, 1), sizes=(6, 5), groups=1),
         DtypeError, "conv_input_grad: needs two arrays of numbers of one dtype"),
    ],
)  # fmt: skip
def test_primitives_check_their_operands(call, error, text):
    with pytest.raises(error) as caught:
        call(fgrad.core.primitive.registry)
    assert text in str(caught.value)
