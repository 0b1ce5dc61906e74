"""The main example, as a user runs it: it learns, saves, resumes, and says what is wrong."""

import re
import struct

import numpy as np
import pytest
import scipy.special
from sklearn.metrics import log_loss

import digits
import fgrad
from idx import DataError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder in which `--quick` has run."""
    folder = tmp_path_factory.mktemp("quick")
    assert digits.main(["--quick", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def saved(tmp_path):
    """A network of 3, 2 and 2 units and the file that it was saved to."""
    params = digits.init_params(fgrad.random.key(1), (3, 2, 2))
    digits.save(tmp_path / "net.npz", params, [(0.5, 0.75)])
    return params, tmp_path / "net.npz"


def arrays_of(path):
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def fails(capsys, argv, *parts):
    assert digits.main(argv) == 1
    captured = capsys.readouterr().err
    assert captured.startswith("digits.py: error: ")
    for part in parts:
        assert str(part) in captured


def test_quick_run_learns(trained):
    losses, accuracies = arrays_of(trained / "digits-seed0.npz")["history"].T
    assert len(losses) == 5
    assert (np.diff(losses) < 0).all()
    assert accuracies[-1] >= 0.94
    assert sorted(p.name for p in trained.iterdir()) == ["digits-curves.png", "digits-mistakes.png", "digits-seed0.npz"]
    for picture in trained.glob("*.png"):
        content = picture.read_bytes()
        assert content.startswith(PNG_SIGNATURE)
        assert len(content) > 5000


def test_quick_run_reports(tmp_path, capsys):
    assert digits.main(["--quick", "--epochs", "1", "--seeds", "2", "--seed", "7", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1437 training images, 360 test images, network (64, 128, 10)"
    accuracies = [
        float(re.fullmatch(rf"seed {7 + i}: test accuracy ([\d.]+)% after 1 epochs .*", line)[1])
        for i, line in enumerate(lines[1:3])
    ]
    mean = float(re.fullmatch(r"mean test accuracy of 2 seeds: ([\d.]+)%", lines[4])[1])
    assert mean == pytest.approx(sum(accuracies) / 2, abs=0.011)
    assert str(tmp_path / "digits-curves.png") in lines[5]


def test_resumed_training_gives_the_same_parameters(trained, tmp_path, capsys):
    digits.main(["--quick", "--epochs", "2", "--out", str(tmp_path)])
    digits.main(["--quick", "--epochs", "5", "--out", str(tmp_path), "--resume"])
    at_once, resumed = arrays_of(trained / "digits-seed0.npz"), arrays_of(tmp_path / "digits-seed0.npz")
    assert at_once.keys() == resumed.keys()
    for key in at_once:
        np.testing.assert_array_equal(resumed[key], at_once[key], strict=True)
    capsys.readouterr()
    digits.main(["--quick", "--epochs", "3", "--out", str(tmp_path), "--resume"])
    assert "seed 0: has 5 epochs already: ask for more with --epochs" in capsys.readouterr().out


def test_split_is_stratified_and_complete():
    data = digits.digits_dataset()
    assert (len(data.train_labels), len(data.test_labels)) == (1437, 360)
    counts = np.bincount(data.train_labels) + np.bincount(data.test_labels)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as the UCI page lists them
    assert (np.abs(np.bincount(data.test_labels) - counts / 5) < 1).all()


def test_loss_and_gradient():
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((6, 3)).astype(np.float32), np.array([0, 1, 1, 0, 1, 0])
    targets = np.eye(2, dtype=np.float32)[labels]
    params = digits.init_params(fgrad.random.key(3), (3, 4, 2))
    probabilities = scipy.special.softmax(np.asarray(digits.scores(params, images), np.float64), axis=1)
    assert float(digits.loss(params, images, targets)) == pytest.approx(log_loss(labels, probabilities), rel=1e-6)
    gradient = fgrad.grad(digits.loss)(params, images, targets)
    assert digits.largest_difference(gradient, digits.gradient_by_hand(params, images, targets)) < 1e-6


def test_step_leaves_its_arguments_alone():
    params = digits.init_params(fgrad.random.key(3), (3, 4, 2))
    before = fgrad.tree.map(np.array, params)
    new, value = digits.sgd_step(params, np.ones((2, 3), np.float32), np.eye(2, dtype=np.float32), 0.1)
    assert digits.largest_difference(params, before) == 0
    assert digits.largest_difference(params, new) > 0
    assert {leaf.dtype for leaf in fgrad.tree.leaves(new)} == {np.dtype(np.float32)}
    assert np.isfinite(float(value))


def test_save_and_load(saved):
    params, path = saved
    loaded, history = digits.load(path, like=params)
    assert digits.largest_difference(params, loaded) == 0
    assert history == [(0.5, 0.75)]
    assert [p.name for p in path.parent.iterdir()] == ["net.npz"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layer0.weights", None, "'layer0.weights' must be float32 of shape (3, 2), the file has no such array"),
        ("layer0.weights", np.zeros((2, 3), np.float32), "of shape (3, 2), the file has float32 of shape (2, 3)"),
        ("layer1.biases", np.zeros(2), "'layer1.biases' must be float32 of shape (2,), the file has float64"),
        ("layer1.biases", np.zeros((), np.float32), "the file has float32 of shape ()"),
        ("layer1.biases", np.array([0, np.nan], np.float32), "'layer1.biases' holds NaN or infinity"),
        ("history", np.zeros(3), "'history' must be float64 of shape ('n', 2), the file has float64 of shape (3,)"),
        ("history", np.array([object()]), "damaged or not an .npz file (Object arrays cannot be loaded"),
    ],
)
def test_parameters_that_do_not_fit(saved, key, value, message):
    params, path = saved
    arrays = arrays_of(path) | {key: value}
    np.savez(path, **{k: a for k, a in arrays.items() if a is not None})
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        digits.load(path, like=params)
    assert str(path) in str(caught.value)


def test_damaged_parameter_file(saved):
    params, path = saved
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(params[0]["weights"].tobytes())] ^= 1
    npy = path.with_name("array.npy")
    np.save(npy, np.zeros(2))
    for content in (b"", b"PK", b"text", whole[:100], whole[:-1], bytes(flipped), npy.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(
            DataError, match=r"net\.npz: damaged or not an \.npz file \(.*\): delete it and train again"
        ):
            digits.load(path, like=params)


def test_resume_without_a_file(tmp_path, capsys):
    fails(capsys, ["--resume", "--quick", "--out", str(tmp_path)], "digits-seed0.npz: no such file: train once without")


def test_resume_with_a_damaged_file(tmp_path, capsys):
    (tmp_path / "digits-seed0.npz").write_bytes(b"PK\3\4")
    fails(capsys, ["--resume", "--quick", "--out", str(tmp_path)], "digits-seed0.npz: damaged or not an .npz file")


def test_diverging_training(tmp_path, capsys):
    with np.errstate(all="ignore"):
        fails(
            capsys, ["--quick", "--lr", "1e30", "--out", str(tmp_path)], "seed 0: the loss is ", "take a smaller --lr"
        )
    assert not list(tmp_path.glob("*.npz*"))


def test_output_folder_that_cannot_be(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    fails(capsys, ["--quick", "--out", str(tmp_path / "file")], tmp_path / "file")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_pixel_is_refused(value):
    data = digits.digits_dataset()
    data.test_images[[17, 30], 2, 5] = value
    message = "test image 17 holds NaN or infinity (2 of 360 images do): repair it or leave it out"
    with pytest.raises(DataError, match=re.escape(message)):
        digits.prepare(data)


def write_idx(path, code, array):
    path.write_bytes(struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes())


def test_idx_data_set(tmp_path, capsys):
    data = digits.digits_dataset()
    few = slice(0, 200)
    for part, images, labels in (
        ("train", data.train_images[few], data.train_labels[few]),
        ("t10k", data.test_images, data.test_labels),
    ):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", 0x0D, images.astype(">f4"))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", 0x08, labels.astype("u1"))
    argv = ["--quick", "--epochs", "10", "--idx", str(tmp_path), "--out", str(tmp_path / "out")]
    assert digits.main(argv) == 0
    assert capsys.readouterr().out.startswith("200 training images, 360 test images, network (64, 128, 10)\n")
    assert arrays_of(tmp_path / "out" / "digits-seed0.npz")["history"][-1, 1] > 0.8

    images = data.train_images[few].astype(">f4")
    images[5, 0, 0] = np.nan
    write_idx(tmp_path / "train-images-idx3-ubyte", 0x0D, images)
    fails(capsys, argv, "training image 5 holds NaN or infinity (1 of 200 images do)")
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    fails(capsys, argv, f"{tmp_path}: no file t10k-labels-idx1-ubyte")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epochs", "0"], "argument --epochs: 0 is not greater than zero"),
        (["--batch", "x"], "argument --batch: invalid int value: 'x'"),
        (["--lr", "nan"], "argument --lr: nan is not greater than zero"),
        (["--lr", "inf"], "argument --lr: inf is not greater than zero"),
        (["--seed", "-1"], "argument --seed: -1 is negative"),
    ],
)
def test_bad_arguments(argv, message, capsys):
    with pytest.raises(SystemExit) as caught:
        digits.main(argv)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
