"""The loops and branches of fgrad.lax as Python runs them: what the tests compare with."""

import numpy as np

import fgrad
import fgrad.numpy as fnp


def scan(f, init, xs=None, length=None, reverse=False, **ignored):
    leaves = fgrad.tree.leaves(xs)
    n = len(leaves[0]) if leaves else length
    carry, ys = init, []
    if n == 0:  # the types of y are those of a run
        one = fgrad.tree.map(lambda x: fnp.zeros(x.shape[1:], x.dtype), xs)
        return init, fgrad.tree.map(lambda y: fnp.zeros((0, *y.shape), y.dtype), f(init, one)[1])
    for i in reversed(range(n)) if reverse else range(n):
        carry, y = f(carry, fgrad.tree.map(lambda x: x[i], xs))  # noqa: B023
        ys.append(y)
    if reverse:
        ys.reverse()
    return carry, fgrad.tree.map(lambda *parts: fnp.stack(parts), *ys)


def map(f, xs, batch_size=None):
    return scan(lambda _, x: (None, f(x)), None, xs)[1]


def while_loop(cond_fun, body_fun, init_val):
    while cond_fun(init_val):
        init_val = body_fun(init_val)
    return init_val


def fori_loop(lower, upper, body_fun, init_val, unroll=None):
    for i in range(lower, upper):
        init_val = body_fun(i, init_val)
    return init_val


def cond(pred, true_fun, false_fun, *operands):
    return true_fun(*operands) if pred else false_fun(*operands)


def switch(index, branches, *operands):
    return branches[min(max(int(index), 0), len(branches) - 1)](*operands)


def associative_scan(fn, elems, reverse=False, axis=0):
    n = fgrad.tree.leaves(elems)[0].shape[axis]
    parts = [fgrad.tree.map(lambda x: np.take(x, [i], axis), elems) for i in range(n)]  # noqa: B023
    if reverse:
        parts.reverse()
    for i in range(1, n):
        parts[i] = fn(parts[i - 1], parts[i])
    if reverse:
        parts.reverse()
    return fgrad.tree.map(lambda *xs: fnp.concatenate(xs, axis), *parts)


def checkpoint(f):
    return f


def jit(f):
    return f


def vmap(f):
    return lambda *xs: map(lambda parts: f(*parts), xs)


def weighed(tree):
    """A number that depends smoothly on every element of a tree, on each in its own way."""
    total = 0.0
    for k, x in enumerate(fgrad.tree.leaves(tree)):
        weights = np.cos(np.arange(np.size(x)) + k).reshape(np.shape(x))
        total = total + (np.sin(x) * weights).sum()
    return total
