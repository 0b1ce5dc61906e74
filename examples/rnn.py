"""Teach a recurrent network to write, one character after the other, from a short text.

    python examples/rnn.py            train, draw the loss, print what the network writes
    python examples/rnn.py --quick    a smaller network, fewer epochs

The network reads a character, updates its state, and gives a score to every character that might follow: a tanh layer
whose output is fed back, in a `lax.scan` over the text. Backwards through that scan is "backpropagation through time";
writing is another scan, which feeds the network what it has just drawn at random (`fgrad.random`), under `fgrad.jit`.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import fgrad
import fgrad.numpy as fnp
from fgrad import lax, optim

TEXT = """\
The river comes down from the hills in the night, and in the morning it is in the meadow. The children put paper boats
on the water and run along the bank to see them pass the mill. One boat turns round and round under the bridge; one is
caught in the reeds; one goes on and on, past the mill and the meadow, past the town and its towers, until nobody can
see it any more. Where does it go, asks the smallest. To the sea, says the miller, all the water goes to the sea. And
where does the sea go? The sea goes up, says the miller, it goes up into the clouds, and the clouds come back to the
hills, and in the night the rain falls and runs down into the river. Then my boat comes back, says the smallest. And
she sits down on the bank in the evening, and she waits for the clouds and the rain, and for the river that comes down
from the hills in the night.
""".replace("\n", " ")
ALPHABET = sorted(set(TEXT))

# ---- The model: parameters -> characters -> scores for what follows each --------------------------


def init_params(key, hidden):
    """Random weights and zero biases, float32: Glorot's variances, an orthogonal matrix for what is fed back."""
    keys = fgrad.random.split(key, 3)
    glorot, orthogonal = fgrad.nn.initializers.glorot_normal(), fgrad.nn.initializers.orthogonal()
    return {
        "read": glorot(keys[0], (len(ALPHABET), hidden), np.float32),
        "feed_back": orthogonal(keys[1], (hidden, hidden), np.float32),
        "state_biases": np.zeros(hidden, np.float32),
        "write": glorot(keys[2], (hidden, len(ALPHABET)), np.float32),
        "write_biases": np.zeros(len(ALPHABET), np.float32),
    }


def step(params, state, characters):
    """Read one character per row of `state`: (next state, scores of the characters that may follow)."""
    read = fnp.take(params["read"], characters, axis=0)  # as a one-hot vector times the matrix
    state = fnp.tanh(read + state @ params["feed_back"] + params["state_biases"])
    return state, state @ params["write"] + params["write_biases"]


def loss(params, texts):
    """Mean of minus the logarithm of the probability given to the right next character; `texts`: one per row."""

    def read(state, now_and_next):
        now, right = now_and_next
        state, scores = step(params, state, now)
        log_probabilities = fgrad.nn.log_softmax(scores)
        return state, -fnp.mean(fnp.take_along_axis(log_probabilities, right[:, None], axis=1))

    start = fnp.zeros_like(params["state_biases"], shape=(len(texts), len(params["feed_back"])))
    _, losses = lax.scan(read, start, (texts[:, :-1].T, texts[:, 1:].T))
    return fnp.mean(losses)


@fgrad.jit(static_argnames="length")
def write(params, key, first, length):
    """The numbers of `length` characters, each drawn with the probability that the network gives it after `first`."""

    def draw(carry, key):
        state, character = carry
        state, scores = step(params, state, character)
        character = fgrad.random.categorical(key, scores)
        return (state, character), character

    start = fnp.zeros_like(params["state_biases"])
    _, characters = lax.scan(draw, (start, first), fgrad.random.split(key, length))
    return characters


# ---- Learning ------------------------------------------------------------------------------------


def windows(text, length):
    """All pieces of `length` characters of the text, one per row, as numbers in the alphabet."""
    numbers = np.array([ALPHABET.index(character) for character in text])
    return np.lib.stride_tricks.sliding_window_view(numbers, length).copy()


def train(params, pieces, *, epochs, batch, seed):
    """Adam over mini-batches of the pieces, a random order in every epoch: (parameters, mean loss of each epoch)."""
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(0.003))

    @fgrad.jit
    def learn(params, state, texts):
        value, gradient = fgrad.value_and_grad(loss)(params, texts)
        updates, state = optimizer.update(gradient, state, params)
        return optim.apply_updates(params, updates), state, value

    state, history = optimizer.init(params), []
    progress = tqdm(range(epochs), unit="epoch", disable=None, leave=False)
    for epoch in progress:
        order = np.random.default_rng([seed, epoch]).permutation(len(pieces))
        values = []
        for start in range(0, len(order) - batch + 1, batch):  # the last few wait for another epoch
            params, state, value = learn(params, state, pieces[order[start : start + batch]])
            values.append(float(value))
        history.append(float(np.mean(values)))
        progress.set_postfix(loss=f"{history[-1]:.3f}")
    return params, history


# ---- The program ---------------------------------------------------------------------------------


def plot(path, history):
    """The loss over the epochs, beside that of drawing characters with their frequencies or all alike."""
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(history) + 1), history, label="the network")
    axes.axhline(math.log(len(ALPHABET)), color="gray", linestyle=":", label="all characters alike")
    axes.axhline(entropy(), color="gray", linestyle="--", label="by their frequencies")
    axes.set(title="training loss", xlabel="epoch", ylabel="nats per character", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)


def entropy():
    """The loss of the best guess that does not look at what came before: the entropy of the frequencies, in nats."""
    frequencies = np.array([TEXT.count(character) / len(TEXT) for character in ALPHABET])
    return float(-np.sum(frequencies * np.log(frequencies)))


def main(argv=None):
    """Train, write, draw, and return (parameters, mean loss of each epoch, the text that was written)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, help="times through all pieces of the text (60; with --quick 6)")
    parser.add_argument("--hidden", type=int, help="size of the state (128; with --quick 48)")
    parser.add_argument("--length", type=int, default=300, help="characters to write (300)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (0)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (out)")
    parser.add_argument("--quick", action="store_true", help="48 units, 6 epochs")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    init_key, write_key = fgrad.random.split(fgrad.random.key(args.seed))
    params = init_params(init_key, args.hidden or (48 if args.quick else 128))
    pieces = windows(TEXT, 33)
    print(f"{len(TEXT)} characters, {len(ALPHABET)} different ones")
    params, history = train(params, pieces, epochs=args.epochs or (6 if args.quick else 60), batch=32, seed=args.seed)
    print(f"loss {history[0]:.3f} in the first epoch, {history[-1]:.3f} in the last; by frequencies {entropy():.3f}")
    numbers = write(params, write_key, ALPHABET.index("T"), length=args.length)
    written = "T" + "".join(ALPHABET[number] for number in numbers)
    print(written)
    plot(args.out / "rnn.png", history)
    print(f"picture: {args.out / 'rnn.png'}")
    return params, history, written


if __name__ == "__main__":
    main()
