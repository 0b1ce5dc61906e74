"""Train a neural network to read handwritten digits, from raw pixels to learning curves.

    python examples/digits.py                       three networks, each from another random start, and their mean
    python examples/digits.py --quick               one network, a few epochs
    python examples/digits.py --resume --epochs 60  go on from the saved parameters, up to epoch 60
    python examples/digits.py --idx DIR             MNIST (or Fashion-MNIST, ...) from its four IDX files in DIR

The images are scikit-learn's digits: 1,797 real ones of 8x8 pixels, from the UCI "Optical Recognition of Handwritten
Digits" set. A fifth of them, the same for every network, is kept for testing and never trained on.

The network is a function of its parameters and of the images; `fgrad.value_and_grad` turns its loss into a function
that also returns the gradient, `fgrad.jit` turns the whole training step into one program. There is nothing else:
parameters are NumPy arrays in dictionaries and lists, a step takes the old ones and returns new ones.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import fgrad
import fgrad.numpy as fnp
from idx import DataError, Dataset, load_idx_folder

HIDDEN_UNITS = 128

# ---- The model: parameters -> images -> a score for every class ----------------------------------


def init_params(key, sizes):
    """Random weights and zero biases for layers of the given sizes, e.g. (64, 128, 10).

    He's initialisation, of variance 2/fan_in, keeps the activations of ReLU layers about equally large from layer to
    layer (He et al., ICCV 2015).
    """
    he = fgrad.nn.initializers.he_normal()
    keys = fgrad.random.split(key, len(sizes) - 1)
    return [
        {"weights": he(key, (fan_in, fan_out), np.float32), "biases": np.zeros(fan_out, np.float32)}
        for key, fan_in, fan_out in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def scores(params, images):
    """One row of class scores (logits) per image: ReLU layers, then a linear one."""
    *hidden_layers, last = params
    activations = images
    for layer in hidden_layers:
        activations = fgrad.nn.relu(activations @ layer["weights"] + layer["biases"])
    return activations @ last["weights"] + last["biases"]


def loss(params, images, targets):
    """Mean cross-entropy: minus the logarithm of the probability given to the right class. `targets` are one-hot."""
    log_probabilities = fgrad.nn.log_softmax(scores(params, images))
    return -fnp.mean(fnp.sum(targets * log_probabilities, axis=1))


# ---- Learning: one step downhill, and the same gradient by hand ----------------------------------


@fgrad.jit
def sgd_step(params, images, targets, learning_rate):
    """One step of stochastic gradient descent: (new parameters, loss before the step)."""
    value, gradient = fgrad.value_and_grad(loss)(params, images, targets)
    return fgrad.tree.map(lambda p, g: p - learning_rate * g, params, gradient), value


def gradient_by_hand(params, images, targets):
    """The gradient of `loss` for one hidden layer, by the chain rule written out in NumPy.

    Forward, each line makes a value from the one before; backward, each line makes d loss/d value from the one after:
    what `fgrad.value_and_grad` does with any function.
    """
    first, second = params
    before = images @ first["weights"] + first["biases"]
    hidden = np.maximum(before, 0)
    z = hidden @ second["weights"] + second["biases"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    probabilities = e / e.sum(axis=1, keepdims=True)

    d_z = (probabilities - targets) / len(images)  # softmax and cross-entropy together
    d_hidden = d_z @ second["weights"].T
    d_before = d_hidden * (before > 0)  # the slope of ReLU: 1 or 0
    return [
        {"weights": images.T @ d_before, "biases": d_before.sum(axis=0)},
        {"weights": hidden.T @ d_z, "biases": d_z.sum(axis=0)},
    ]


def largest_difference(tree_a, tree_b):
    """The largest |a - b| over all numbers of two pytrees of the same structure."""
    differences = fgrad.tree.map(lambda a, b: np.max(np.abs(a - b)), tree_a, tree_b)
    return max(float(difference) for difference in fgrad.tree.leaves(differences))


def accuracy(params, images, labels):
    """The fraction of images whose highest score is that of the right class."""
    return float(np.mean(np.argmax(scores(params, images), axis=1) == labels))


def train(params, history, data, *, epochs, batch, learning_rate, seed):
    """Train up to epoch number `epochs` and return (parameters, history).

    `history` has one row for each epoch so far: (mean training loss, test accuracy). An epoch shows every training
    image once, in mini-batches, in an order that depends on the seed and the epoch only: so training that was
    interrupted and resumed gives the same bits as training in one go.
    """
    targets = np.eye(data.train_labels.max() + 1, dtype=np.float32)[data.train_labels]
    count = len(targets)
    # disable=None: no bar where the output is not a terminal
    progress = tqdm(range(len(history), epochs), desc=f"seed {seed}", unit="epoch", disable=None, leave=False)
    for epoch in progress:
        order = np.random.default_rng([seed, epoch]).permutation(count)
        loss_sum = 0.0
        for start in range(0, count, batch):
            chosen = order[start : start + batch]
            params, value = sgd_step(params, data.train_images[chosen], targets[chosen], learning_rate)
            loss_sum += float(value) * len(chosen)
        mean_loss = loss_sum / count
        if not math.isfinite(mean_loss):
            raise DataError(f"seed {seed}: the loss is {mean_loss} in epoch {epoch + 1}: take a smaller --lr")
        test_accuracy = accuracy(params, data.test_images, data.test_labels)
        history = [*history, (mean_loss, test_accuracy)]
        progress.set_postfix(loss=f"{mean_loss:.4f}", test=f"{test_accuracy:.1%}")
    return params, history


# ---- Data ----------------------------------------------------------------------------------------


def digits_dataset():
    """scikit-learn's digits, four fifths for training and one for testing, with equal shares of every class."""
    digits = load_digits()
    train_images, test_images, train_labels, test_labels = train_test_split(
        digits.images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    return Dataset(train_images, train_labels, test_images, test_labels)


def prepare(data):
    """Images as rows of float32: scaled so that the brightest training pixel is 1, minus the mean training image.

    Raises DataError for NaN and infinities.
    """
    for part, images in (("training", data.train_images), ("test", data.test_images)):
        damaged = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))
        if damaged.size:
            raise DataError(
                f"{part} image {damaged[0]} holds NaN or infinity ({damaged.size} of {len(images)} images do): "
                "repair it or leave it out"
            )
    brightest = max(float(data.train_images.max()), -float(data.train_images.min())) or 1.0
    mean_image = data.train_images.mean(axis=0, dtype=np.float64).astype(np.float32)

    def rows(images):
        return ((images - mean_image) / brightest).astype(np.float32).reshape(len(images), -1)

    return data._replace(train_images=rows(data.train_images), test_images=rows(data.test_images))


# ---- Saved parameters ----------------------------------------------------------------------------


def save(path, params, history):
    """Write the parameters and the history to an .npz file."""
    arrays = {f"layer{i}.{name}": array for i, layer in enumerate(params) for name, array in layer.items()}
    unfinished = path.with_name(f"{path.name}.tmp")
    with unfinished.open("wb") as file:
        np.savez(file, history=np.array(history, np.float64).reshape(-1, 2), **arrays)
    os.replace(unfinished, path)  # an interrupted run leaves the old file or the new one, never half of one


def load(path, like):
    """Parameters and history from a file of `save`; `like` has the expected structure, shapes and dtypes.

    Raises DataError when the file is missing or damaged, or holds another network.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file: train once without --resume") from error
    except (OSError, ValueError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged or not an .npz file ({error}): delete it and train again") from error

    def checked(key, shape, dtype):
        expected = f"{key!r} must be {dtype} of shape {tuple('n' if n is None else n for n in shape)}"
        if key not in arrays:
            raise DataError(f"{path}: {expected}, the file has no such array: it was saved by another program")
        array = arrays[key]
        fits = len(array.shape) == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        if array.dtype != dtype or not fits:
            raise DataError(
                f"{path}: {expected}, the file has {array.dtype} of shape {array.shape}: "
                "it was saved for another data set"
            )
        if not np.isfinite(array).all():
            raise DataError(f"{path}: {key!r} holds NaN or infinity: delete the file and train again")
        return array

    params = [
        {name: checked(f"layer{i}.{name}", array.shape, array.dtype) for name, array in layer.items()}
        for i, layer in enumerate(like)
    ]
    history = [tuple(row) for row in checked("history", (None, 2), np.dtype(np.float64)).tolist()]
    return params, history


# ---- Pictures ------------------------------------------------------------------------------------


def plot_curves(path, histories):
    """Training loss and test accuracy over the epochs, one line per seed."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    for seed, history in histories.items():
        losses, accuracies = zip(*history, strict=True)
        epochs = range(1, len(history) + 1)
        loss_axes.plot(epochs, losses, label=f"seed {seed}")
        accuracy_axes.plot(epochs, [100 * a for a in accuracies], label=f"seed {seed}")
    loss_axes.set(title="training loss", xlabel="epoch", ylabel="mean cross-entropy (nats)", yscale="log")
    accuracy_axes.set(title="test accuracy", xlabel="epoch", ylabel="%")
    accuracy_axes.legend()
    figure.savefig(path, dpi=120)


def plot_mistakes(path, images, labels, predictions, columns=8, most_rows=3):
    """The first misclassified images with what was read and what is right."""
    wrong = np.flatnonzero(predictions != labels)
    rows = min(max(1, math.ceil(len(wrong) / columns)), most_rows)
    figure = Figure(figsize=(1.3 * columns, 1.6 * rows), layout="constrained")
    figure.suptitle(f"{len(wrong)} of {len(labels)} test images misread")
    grid = figure.subplots(rows, columns).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, i in zip(grid, wrong, strict=False):
        axes.imshow(images[i], cmap="gray_r")
        axes.set_title(f"{predictions[i]}, is {labels[i]}", fontsize=9)
    figure.savefig(path, dpi=120)


# ---- The program ---------------------------------------------------------------------------------


def run(args):
    """Train one network per seed, save parameters and pictures, and return the mean test accuracy."""
    raw = load_idx_folder(args.idx) if args.idx else digits_dataset()
    data = prepare(raw)
    sizes = (data.train_images.shape[1], HIDDEN_UNITS, int(data.train_labels.max()) + 1)
    print(f"{len(data.train_images)} training images, {len(data.test_images)} test images, network {sizes}")
    args.out.mkdir(parents=True, exist_ok=True)

    histories = {}
    for seed in range(args.seed, args.seed + args.seeds):
        params, history = init_params(fgrad.random.key(seed), sizes), []
        params_path = args.out / f"digits-seed{seed}.npz"
        if args.resume:
            params, history = load(params_path, like=params)
            if len(history) >= args.epochs:
                print(f"seed {seed}: has {len(history)} epochs already: ask for more with --epochs")
        start = time.perf_counter()
        params, history = train(
            params, history, data, epochs=args.epochs, batch=args.batch, learning_rate=args.lr, seed=seed
        )
        seconds = time.perf_counter() - start
        save(params_path, params, history)
        histories[seed] = history
        print(f"seed {seed}: test accuracy {history[-1][1]:.2%} after {len(history)} epochs ({seconds:.1f} s)")
        if seed == args.seed:
            predictions = np.argmax(scores(params, data.test_images), axis=1)
            plot_mistakes(args.out / "digits-mistakes.png", raw.test_images, raw.test_labels, predictions)
    plot_curves(args.out / "digits-curves.png", histories)

    few = slice(0, 32)
    batch = data.test_images[few], np.eye(sizes[-1], dtype=np.float32)[data.test_labels[few]]
    difference = largest_difference(fgrad.grad(loss)(params, *batch), gradient_by_hand(params, *batch))
    print(f"gradient by fgrad and by hand differ by at most {difference:.1e}")
    mean = float(np.mean([history[-1][1] for history in histories.values()]))
    print(f"mean test accuracy of {len(histories)} {'seed' if len(histories) == 1 else 'seeds'}: {mean:.2%}")
    print(f"pictures: {args.out / 'digits-curves.png'} and {args.out / 'digits-mistakes.png'}")
    return mean


def positive(kind):
    """An argparse type: a finite number greater than zero."""

    def parse(text):
        number = kind(text)
        if not (number > 0 and math.isfinite(number)):
            raise argparse.ArgumentTypeError(f"{text} is not greater than zero")
        return number

    parse.__name__ = kind.__name__  # argparse names the type in its message for what is no number at all
    return parse


def main(argv=None):
    """The command line: parse `argv`, run, and return the process's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=positive(int), help="train up to this epoch (40; with --quick 5)")
    parser.add_argument("--batch", type=positive(int), default=32, help="images in a mini-batch (32)")
    parser.add_argument("--lr", type=positive(float), default=0.3, help="learning rate (0.3)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seeds", type=positive(int), help="how many seeds (3; with --quick 1)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for parameters and pictures (out)")
    parser.add_argument("--idx", type=Path, metavar="DIR", help="folder with an MNIST-format data set: four files")
    parser.add_argument("--resume", action="store_true", help="go on from the parameters saved in --out")
    parser.add_argument("--quick", action="store_true", help="one seed, 5 epochs")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error(f"argument --seed: {args.seed} is negative")
    args.epochs = args.epochs or (5 if args.quick else 40)
    args.seeds = args.seeds or (1 if args.quick else 3)
    try:
        run(args)
    except (DataError, OSError) as error:
        print(f"digits.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
