"""The example that learns to write: its network against one in plain NumPy, its gradient, and a run."""

from itertools import pairwise

import numpy as np
import pytest
import python_loops

import fgrad
import rnn
from fgrad.testing import check_close

ALPHABET = 5
TEXTS = np.array([[0, 1, 2, 3, 4, 0, 2], [4, 4, 1, 0, 3, 2, 1]])


@pytest.fixture(params=["rnn", "lstm"])
def network(request):
    params = rnn.init_params(fgrad.random.key(3), ALPHABET, 4, request.param)
    return fgrad.tree.map(lambda x: x.astype(np.float64), params), request.param


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(params, cell, texts):
    """The loss, character by character and text by text."""
    total = 0.0
    for text in texts:
        h, c = np.zeros(4), np.zeros(4)
        for now, following in pairwise(text):
            x = params["input"][now] + params["bias"] + h @ params["recurrent"]
            if cell == "rnn":
                h = np.tanh(x)
            else:
                add, forget, show, new = np.split(x, 4)
                c = sigmoid(forget + 1) * c + sigmoid(add) * np.tanh(new)
                h = sigmoid(show) * np.tanh(c)
            scores = h @ params["output"]
            total += np.log(np.exp(scores).sum()) - scores[following]
    return total / (texts[:, 1:].size * np.log(2))


def test_loss_against_plain_numpy(network):
    params, cell = network
    np.testing.assert_allclose(rnn.loss(params, cell, TEXTS), by_hand(params, cell, TEXTS), rtol=1e-6)


def test_gradient_is_that_of_the_loop_written_out(network, monkeypatch):
    params, cell = network
    found = fgrad.jit(fgrad.grad(rnn.loss), static_argnums=1)(params, cell, TEXTS)
    monkeypatch.setattr(rnn.lax, "scan", python_loops.scan)
    check_close(found, fgrad.grad(rnn.loss)(params, cell, TEXTS), rtol=1e-6)


def test_writing_reads_what_it_wrote(network):
    """The states while writing are those that reading the same characters gives."""
    params, cell = network
    characters, states = rnn.write(params, cell, fgrad.random.key(0), 2, 12)
    read = rnn.read(params, cell, np.array([[2, *characters[:-1]]]))[:, 0]
    np.testing.assert_allclose(states @ params["output"], read, rtol=1e-6)
    assert characters.min() >= 0 and characters.max() < ALPHABET


def test_writing_at_zero_temperature_takes_the_most_probable(network):
    params, cell = network
    characters, states = rnn.write(params, cell, fgrad.random.key(0), 2, 12, temperature=1e-6)
    np.testing.assert_array_equal(characters, np.argmax(states @ params["output"], axis=1))


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_quick_run_learns(cell, tmp_path, capsys):
    argv = ["--quick", "--cell", cell, "--steps", "60", "--hidden", "24", "--out", str(tmp_path)]
    assert rnn.main(argv) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("bits"))
    first, last = (float(word) for word in line.split() if word[0].isdigit())
    assert first > 4.5 and last < 3.6
    assert (tmp_path / "rnn.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_texts_that_do_not_do(tmp_path, capsys):
    short = tmp_path / "short.txt"
    short.write_text("abc")
    assert rnn.main(["--quick", "--text", str(short), "--out", str(tmp_path)]) == 1
    assert "3 characters are too few for pieces of 64" in capsys.readouterr().err
    assert rnn.main(["--quick", "--text", str(tmp_path / "none.txt"), "--out", str(tmp_path)]) == 1
    assert "rnn.py: error: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        rnn.main(["--rate", "0"])
