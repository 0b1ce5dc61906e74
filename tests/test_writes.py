"""Writes into traced arrays: the same programs as NumPy runs them on its own arrays."""

import copy

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad.testing import check_close, check_grads

X = np.array([0.5, -1.25, 2.0, 0.75])
M = np.array([[0.5, -1.25, 2.0], [0.75, 1.5, -0.5]])


# Programs of (module that makes arrays, argument): NumPy runs them on a copy of the argument, traced they get itself


def swapped_elements(xp, x):
    y = x.copy()
    y[0], y[1] = y[1], y[0]
    return y


def swapped_rows_through_views(xp, m):
    y = m.copy()
    y[0], y[1] = y[1], y[0]  # the well-known trap: both rows become the second
    return y


def swapped_rows_by_index(xp, m):
    y = m.copy()
    y[[0, 1]] = y[[1, 0]]
    return y


def overlapping(xp, x):
    y = x.copy()
    y[1:] = y[:-1]
    y[:-1] += y[1:]
    y[::-1] *= y
    return y


def own_mean(xp, m):
    y = m * 1.0
    for row in y:
        row -= row.mean()
    for column in y.T:
        column /= 1.0 + np.abs(column).sum()
    return y


def view_of_view_of_view(xp, m):
    y = m.copy()
    v = y[1:]
    w = v[:, ::-1]
    u = w[0, 1:]
    u[0] = 10.0
    v[0, 0] += w[0, 0] * u[1]
    y *= 2
    return u.sum() * 100 + v.sum() * 10 + w[0, 2] + y.sum()


def siblings(xp, x):
    y = x.copy()
    a, b = y[:3], y[1:]
    a[1] = 5.0
    b[1] = a[1] * b[0]
    a += b
    return np.concatenate([a, b, y])


def view_outlives_base(xp, x):
    v = (x * 2)[1:]
    w = v[1:]
    v += 1
    w[:] = v[:-1] * w
    return v


def alias_of_name(xp, x):
    y = x + 1
    z = y
    z += 1
    y[0] = 7.0
    return np.stack([y, z])


def list_of_aliases(xp, x):
    y = x * 1
    kept = []
    for i in range(3):
        y[i] = y[i] * 2 + i
        kept.append(y)
    kept.append(y.copy())
    y[:] = 0
    return np.stack(kept)


def snapshots(xp, x):
    y = x.copy()
    kept = []
    for i in range(3):
        y[i] += i + 1
        kept.append(y.copy())
    return np.stack(kept)


def saved_by_the_tape(xp, x):
    y = np.sin(x)
    z = y * y
    y[0] = 3.0
    w = y * z
    y *= y
    y[1:] = 2 * w[1:]
    return z.sum() + w.sum() + y.sum()


def saved_view(xp, m):
    y = np.sin(m)
    row = y[0]
    z = row * row
    row[0] = 5.0
    y[0, 1] = 2.0
    return z.sum() + (row * row).sum()


def diagonals(xp, m):
    y = m.T @ m
    d = np.diagonal(y)
    y[0, 0] = 3.0
    np.fill_diagonal(y[1:, 1:], d[1] * 2)
    return y * d


def flat_diagonal(xp, m):
    y = m.T @ m
    y.reshape(-1)[:: y.shape[0] + 1] += 1.5
    y.ravel()[1] = 0.0
    return y


def reshaped(xp, m):
    y = m.copy()
    r = y.reshape(3, 2)
    r[1] = 9.0
    y[:, 1:].reshape(-1)[0] = 100.0  # a copy: no stride serves it
    t = y.T.reshape(-1)  # a copy too
    t[:] = -1.0
    y[:1].reshape(-1)[0] = 4.0
    y[None, :, 0, None][0, 1] = 8.0
    return y + r.reshape(2, 3)


def axes_moved(xp, m):
    y = m.copy()
    y.T[0] = y[:, 1]
    np.swapaxes(y, 0, 1)[1, 1] *= 3
    np.moveaxis(y[None], 2, 0)[2, 0, 0] = -2.0
    np.rot90(y)[0, 0] += 5
    np.flip(y)[0, 0] += 7
    np.expand_dims(y, 0)[0, 0, 0] += 1
    np.squeeze(y[None])[1, 1] += 2
    for part in np.split(y, 3, axis=1):
        part[0] += part[1]
    return y


def masks(xp, x):
    y = np.sin(x)
    y[x > 0.6] = 0.25
    y[x < 0] *= 3
    large = x > 1
    y[large] = (y * y)[large]
    z = x * 1
    small = x < 0.6
    z[small] = -z[small] + 2 * y[small]
    z[small] += y[0]
    return y * z


def index_arrays(xp, x):
    y = np.sin(x)
    y[np.array([2, 0, 2])] = x[:3] * np.array([1.0, 2.0, 3.0])  # of a repeated position the last stays
    y[np.array([1, 1])] += x[0]  # once
    np.add.at(y, np.array([3, 3]), x[1])  # twice
    np.multiply.at(y, np.array([0, 0]), x[2])
    np.maximum.at(y, np.array([1]), 0.1)
    y[[0, -1]] = y[[-1, 0]]
    return y


def numpy_functions(xp, m):
    y = m.copy()
    np.copyto(y[0], m[1])
    np.copyto(y, 0.5, where=m > 1)
    np.put(y, [0, -1], [7.0, 8.0])
    np.putmask(y, m < 0, m * 2)
    np.place(y, m > 0.6, y[1])
    np.put_along_axis(y, np.argmax(m, axis=1, keepdims=True), 0.25, axis=1)
    y[1].sort()
    np.add(y[0], m[0], out=y[1])
    np.multiply(y, 2.0, out=y)
    np.sum(m, axis=0, out=y[0])
    y[:, 2].fill(m[0, 0])
    return y


def filled_buffer(xp, x):
    buffer = xp.zeros((3, 4))
    buffer[0] = x
    for i in range(2):
        buffer[i + 1, 1:] = np.tanh(buffer[i, :-1]) + x[1:]
        buffer[i + 1, 0] = buffer[i, -1]
    return buffer


def integer_bookkeeping(xp, x):
    order = xp.arange(4)
    order[0], order[3] = order[3], order[0]
    count = xp.zeros(4, dtype=int)
    for i in order:
        count[i] += 1
        count[i:] += i
    y = x[order] * count
    y[order[1]] = 1.0
    return y


def in_place_on_the_argument(xp, x):
    same, view = x, x[1:]
    x -= x.mean()
    x /= np.abs(x).sum()
    return np.concatenate([same, view * 2])


def many_operators(xp, x):
    y = x.copy()
    y += 1
    y -= x / 2
    y *= y
    y /= 3
    y **= 2
    y %= 2.0
    y //= 0.25
    return y * x


def matrix_product_in_place(xp, m):
    y = m.T @ m
    v = y[0]
    y @= xp.eye(3) * 2
    return v


def complex_parts(xp, x):
    z = x + 1j * x[::-1]
    z.real[1:] = z.imag[:-1]
    z.imag *= 2
    z[0] = 1j * z[1]
    return z.real * 3 + z.imag


def numbers_are_rebound(xp, x):
    y = x.copy()
    s = y[0]
    s += 10
    t = y.sum()
    t *= 2
    return y.sum() + s * t


def array_of_no_axes(xp, x):
    y = x.copy()
    s = y[1, ...]
    s += 10
    s *= y[0]
    return y


def rows_of_a_list(xp, m):
    rows = list(m * 1.0)
    rows[0] += rows[1]
    rows[1][:2] = rows[0][1:]
    return np.stack(rows)


def conditionally(xp, x):
    y = x * 1
    for i in range(4):
        y[i] = np.where(y[i] > 0, y[i] * 2, y[i - 1])
    return y


def written_whole(xp, x):
    y = xp.zeros(4)
    v = y[1:]
    y[...] = x
    y[:] = y[::-1] * 2
    v[()] = v + 1
    y[True] *= 2
    return y + v.sum()


def deep_copies(xp, x):
    y = x * 1
    z, w = copy.copy(y), copy.deepcopy(y)
    y[0] = 9.0
    z[1] = 8.0
    return np.stack([y, z, w])


def from_likenesses(xp, x):
    y, z, w = xp.zeros_like(x), xp.ones_like(x), xp.empty_like(x)
    w[:] = 0
    for i in range(4):
        y[i] = x[i] * (y[i - 1] + 1)
        z[i] *= y[i]
        w[-i] += z[i]
    return y + z + w


def made_inside(xp, x):
    parts = [xp.zeros(4), xp.ones(4), xp.full(4, 0.5), xp.arange(4.0), xp.linspace(0, 1, 4), xp.eye(4)[1]]
    parts += [xp.array([1.0, 2.0, 3.0, 4.0]), xp.identity(4)[2], xp.tri(4)[1], xp.copy(xp.ones(4))]
    parts += [xp.logspace(0, 1, 4)]
    total = 0.0
    for k, part in enumerate(parts):
        part[k % 4] = x[k % 4] * (k + 1)
        part[1:] *= x[0]
        total = total + part
    return total


def results_into_out(xp, m):
    y = m * 0.5
    np.add(y, 1.0, out=y)
    xp.multiply(y[:, 1:], y[:, :-1], out=y[:, 1:])
    np.exp(y[0], y[1])
    xp.sum(y, 0, None, y[0])
    np.mean(y, axis=1, out=y[:, 0])
    y.cumsum(1, out=y)
    y.max(0, y[0])
    y.clip(-1.0, 1.5, out=y)
    np.dot(y[:, :2], xp.ones((2, 3)), y)
    np.outer(y[0, :2], y[1], out=y)
    xp.stack([y[0], y[0]], out=y[::-1])
    np.trace(y, out=y[0, 1:2].reshape(()))
    np.add(y[1], 0.25, out=y)
    xp.take(y, [1, 0], 0, y)
    np.einsum("ij->j", y, out=y[1])
    y[0].round(1, y[1])
    fraction = y * 1.0
    np.modf(y, fraction, y)
    return y + fraction


def where_and_out(xp, x):
    y = x.copy()
    np.log(y, out=y, where=y > 0.6)
    xp.add(y, x, out=y, where=[True, False, True, False])
    np.add(y, 1.0, y, where=np.array([False, True, False, True]))
    return y


def masks_computed_twice(xp, x):
    y = x.copy()
    y[y > 0.6] = np.sqrt(y[y > 0.6])
    y[(y > -2) & (y < 0)] = -y[(y > -2) & (y < 0)]
    y[~(y > 0.7)] += y[~(y > 0.7)]
    np.add.at(y, y > 1.1, 0.5)
    return y


def masks_of_some_axes(xp, m):
    y = m.copy()
    columns, rows = y[0] > 0, y[:, 0] > 0.6
    y[:, columns] = 0.25
    y[rows, 1] *= 3.0
    y[rows, 1:] += np.array([1.0, 2.0])
    y[..., columns] = np.sin(y[..., columns]) * 2.0
    y[::-1, columns] -= 0.5
    y[1, columns] = y[1, columns] ** 2
    y.T[columns, :1] *= 2.0
    v = y[:, 1:]
    v[v > 0.5] = 0.5
    return y


def masks_as_values(xp, m):
    at = lambda y: y.at if hasattr(y, "at") else fgrad.at(y)  # noqa: E731
    y = at(m)[m > 0].set(0.5)
    y = at(y)[y[:, 0] > 0.6].add(1.0)
    y = at(y)[:, m[0] > 0].multiply(2.0)
    y = at(y)[y > 2.5].min(2.5)
    y = at(y)[y > 0.7].apply(np.log)
    return fgrad.at(np.ones((2, 3)))[m > 0].divide(2.0) + y


def copies_and_views(xp, m):
    y = m.copy()
    y.astype(y.dtype, copy=False)[0, 0] = 2.0
    y.astype(y.dtype)[0, 1] = 7.0
    y.conj()[1, 0] = 3.0
    np.conj(y)[1, 1] = 7.0
    y.reshape(3, 2)[0, 1] *= 2.0
    y.reshape(3, 2, copy=True)[0] = 7.0
    np.reshape(y, (3, 2), copy=True)[1] = 7.0
    y.ravel("K")[2] *= 1.5
    y.flatten("K")[2] = 7.0
    y.ravel("F")[3] = 7.0
    y[0, :1].reshape(())[...] = 4.0
    y[:1, :1].squeeze()[...] *= 2.0
    y.flat[4:] = [0.5, 0.25]
    y.flat[1] *= 3.0
    return y


def repeated_flat_values(xp, m):
    y = m.copy()
    first = y[0, 0]
    y.flat = [1.0, 2.0, 3.0, 4.0]
    return y * first


VECTORS = [
    swapped_elements, overlapping, siblings, view_outlives_base, alias_of_name, list_of_aliases, snapshots,
    saved_by_the_tape, masks, index_arrays, filled_buffer, integer_bookkeeping, in_place_on_the_argument,
    many_operators, complex_parts, numbers_are_rebound, array_of_no_axes, conditionally, written_whole, deep_copies,
    from_likenesses, made_inside, where_and_out, masks_computed_twice,
]  # fmt: skip
MATRICES = [
    swapped_rows_through_views, swapped_rows_by_index, own_mean, view_of_view_of_view, saved_view, diagonals,
    flat_diagonal, reshaped, axes_moved, numpy_functions, matrix_product_in_place, rows_of_a_list,
    results_into_out, masks_of_some_axes, masks_as_values, copies_and_views, repeated_flat_values,
]  # fmt: skip
PROGRAMS = [(f, X) for f in VECTORS] + [(f, M) for f in MATRICES]


@pytest.mark.parametrize(("f", "x"), PROGRAMS, ids=lambda p: getattr(p, "__name__", ""))
def test_programs(f, x):
    want = f(np, x.copy())
    g = lambda x: f(fnp, x)  # noqa: E731
    before = x.copy()
    total = lambda x: np.sum(np.cos(np.arange(want.size)).reshape(want.shape) * g(x))  # noqa: E731
    check_close(fgrad.jit(g)(x), want)
    check_close(fgrad.vjp(g, x)[0], want)
    check_close(fgrad.jvp(g, (x,), (x,))[0], want)
    check_close(fgrad.vmap(g)(np.stack([x, x])), np.stack([want, want]))
    check_close(fgrad.jit(fgrad.vmap(g))(np.stack([x, x])), np.stack([want, want]))
    check_close(fgrad.checkpoint(g)(x) if f is not in_place_on_the_argument else want, want)
    check_close(fgrad.grad(lambda x: (total(x), g(x)), has_aux=True)(x)[1], want)
    gradient = fgrad.grad(total)(x)
    check_close(fgrad.jit(fgrad.grad(total))(x), gradient, rtol=1e-12, atol=1e-12)
    check_close(fgrad.vmap(fgrad.grad(total))(np.stack([x, x]))[1], gradient, rtol=1e-12, atol=1e-12)
    if f is not in_place_on_the_argument:  # as NumPy runs it, it changes its argument
        check_grads(total, (x,), order=2, atol=1e-5, rtol=1e-5)
    assert np.array_equal(x, before)
