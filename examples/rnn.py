"""A network that learns to write, one character after the other.

    python examples/rnn.py               an LSTM on examples/data/lighthouse.txt, with samples of what it writes
    python examples/rnn.py --cell rnn    a plain recurrent network instead
    python examples/rnn.py --text FILE   another text
    python examples/rnn.py --quick       a small network, few steps

A recurrent network reads a text character by character, keeps a state of a few numbers, and says after each character
how probable every next one is. Learning makes the characters that really come next more probable. Reading is a
`lax.scan` over the characters; its gradient goes back through all of them. Writing is a `lax.scan`, too: each character
is drawn from the probabilities and read again. The text that comes along is short: the network soon knows it by heart.

The cells are the plain one, h' = tanh(W [x, h] + b), and the long short-term memory of Hochreiter and Schmidhuber
(1997) with the forget gate of Gers et al. (2000), which can keep a number for many characters.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import fgrad
import fgrad.numpy as fnp
from fgrad import lax, nn, optim, random

TEXT = Path(__file__).parent / "data" / "lighthouse.txt"

# ---- The network ---------------------------------------------------------------------------------


def rnn_cell(params, state, x):
    """The next state, and what the output sees of it."""
    (h,) = state
    h = fnp.tanh(x + h @ params["recurrent"])
    return (h,), h


def lstm_cell(params, state, x):
    """As `rnn_cell`: gates decide what is forgotten, what is added and what is shown."""
    h, c = state
    add, forget, show, new = fnp.split(x + h @ params["recurrent"], 4, axis=-1)
    c = nn.sigmoid(forget + 1) * c + nn.sigmoid(add) * fnp.tanh(new)
    h = nn.sigmoid(show) * fnp.tanh(c)
    return (h, c), h


CELLS = {"rnn": (rnn_cell, 1, 1), "lstm": (lstm_cell, 4, 2)}  # cell, blocks of its matrices, parts of its state


def init_params(key, characters, hidden, cell):
    """Random matrices of variance 1 / inputs, in float32."""
    _, blocks, _ = CELLS[cell]
    normal = nn.initializers.lecun_normal()
    k1, k2, k3 = random.split(key, 3)
    return {
        "input": normal(k1, (characters, blocks * hidden), np.float32),
        "bias": np.zeros(blocks * hidden, np.float32),
        "recurrent": normal(k2, (hidden, blocks * hidden), np.float32),
        "output": normal(k3, (hidden, characters), np.float32),
    }


def first_state(params, cell, batch):
    """Zeros."""
    output = params["output"]
    return (np.zeros((batch, output.shape[0]), output.dtype),) * CELLS[cell][2]


def read(params, cell, texts):
    """Scores of the next character at each place of some texts of one length: (places, texts, characters)."""
    step = CELLS[cell][0]
    inputs = fnp.take(params["input"], texts.T, axis=0) + params["bias"]  # a product with one-hot vectors
    state = first_state(params, cell, len(texts))
    _, shown = lax.scan(lambda s, x: step(params, s, x), state, inputs)
    return shown @ params["output"]


def loss(params, cell, texts):
    """Mean cross-entropy of each next character, in bits."""
    scores = nn.log_softmax(read(params, cell, texts[:, :-1]))
    return -fnp.mean(fnp.take_along_axis(scores, texts[:, 1:].T[..., None], axis=2)) / math.log(2)


def write(params, cell, key, first, length, temperature=0.5):
    """Characters drawn one after the other, each from the probabilities behind the ones before; and the states."""
    step = CELLS[cell][0]

    def draw(carry, key):
        character, state = carry
        x = fnp.take(params["input"], character, axis=0) + params["bias"]
        state, shown = step(params, state, x[None])
        scores = (shown @ params["output"])[0]
        character = random.categorical(key, scores / temperature)
        return (character, state), (character, shown[0])

    _, found = lax.scan(draw, (first, first_state(params, cell, 1)), random.split(key, length))
    return found


# ---- Learning ------------------------------------------------------------------------------------


def encode(text):
    """The characters of a text in order, and the text as their numbers."""
    alphabet = sorted(set(text))
    number = {c: i for i, c in enumerate(alphabet)}
    return alphabet, np.array([number[c] for c in text])


def train(params, cell, codes, *, steps, batch, length, rate, seed):
    """Adam on random pieces of the text; returns the parameters and the loss of each step."""
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(rate))

    @fgrad.jit
    def improve(params, state, texts):
        value, gradient = fgrad.value_and_grad(loss)(params, cell, texts)
        updates, state = optimizer.update(gradient, state, params)
        return optim.apply_updates(params, updates), state, value

    state, losses = optimizer.init(params), []
    places = np.random.default_rng(seed)
    progress = tqdm(range(steps), unit="step", disable=None, leave=False)
    for _ in progress:
        starts = places.integers(0, len(codes) - length, batch)
        params, state, value = improve(params, state, codes[starts[:, None] + np.arange(length + 1)])
        losses.append(float(value))
        progress.set_postfix(bits=f"{losses[-1]:.2f}")
    return params, losses


# ---- The picture ---------------------------------------------------------------------------------


def plot(path, losses, text, states):
    """The loss, and some units of the network while it writes."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    loss_axes, axes = figure.subplots(1, 2, width_ratios=[1, 2])
    loss_axes.plot(losses)
    loss_axes.set(title="bits for each character", xlabel="step", ylim=(0, None))
    axes.imshow(states.T, cmap="RdBu", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(text)), [c.replace("\n", "↵") for c in text], fontsize=7, family="monospace")
    axes.set(title="units of the network while it writes", ylabel="unit")
    figure.savefig(path, dpi=120)


# ---- The program ---------------------------------------------------------------------------------


def run(args):
    """Train, write, draw; returns the losses and what was written."""
    alphabet, codes = encode(args.text.read_text(encoding="utf-8"))
    if len(codes) <= args.length:
        raise ValueError(f"{args.text}: {len(codes)} characters are too few for pieces of {args.length}")
    params = init_params(random.key(args.seed), len(alphabet), args.hidden, args.cell)
    count = sum(x.size for x in fgrad.tree.leaves(params))
    print(f"{len(codes)} characters, {len(alphabet)} different ones; {args.cell} with {count} parameters")
    params, losses = train(
        params, args.cell, codes, steps=args.steps, batch=32, length=args.length, rate=args.rate, seed=args.seed
    )
    print(f"bits for each character: {losses[0]:.2f} at first, {np.mean(losses[-10:]):.2f} in the end")
    drawn, states = fgrad.jit(write, static_argnums=(1, 4))(params, args.cell, random.key(args.seed + 1), codes[0], 400)
    text = "".join(alphabet[i] for i in (codes[0], *drawn))
    print(f"\n{text}\n")
    args.out.mkdir(parents=True, exist_ok=True)
    plot(args.out / "rnn.png", losses, text[1:71], states[:70, :40])
    print(f"picture: {args.out / 'rnn.png'}")
    return losses, text


def main(argv=None):
    """The command line: parse `argv`, run, and return the process's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=sorted(CELLS), default="lstm", help="kind of network (lstm)")
    parser.add_argument("--text", type=Path, default=TEXT, help="what to learn (examples/data/lighthouse.txt)")
    parser.add_argument("--steps", type=int, help="steps of the optimiser (400; with --quick 150)")
    parser.add_argument("--hidden", type=int, help="numbers in the state (128; with --quick 48)")
    parser.add_argument("--length", type=int, default=64, help="characters in a piece of text (64)")
    parser.add_argument("--rate", type=float, default=0.01, help="learning rate (0.01)")
    parser.add_argument("--seed", type=int, default=0, help="for the first parameters and the pieces (0)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (out)")
    parser.add_argument("--quick", action="store_true", help="a small network, few steps")
    args = parser.parse_args(argv)
    if args.steps is None:
        args.steps = 150 if args.quick else 400
    if args.hidden is None:
        args.hidden = 48 if args.quick else 128
    if min(args.steps, args.hidden, args.length) < 1 or args.seed < 0 or not args.rate > 0:
        parser.error("--steps, --hidden, --length and --rate must be positive, --seed not negative")
    try:
        run(args)
    except (OSError, ValueError) as error:
        print(f"rnn.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
