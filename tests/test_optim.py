"""fgrad.optim: numbers of optax 0.2.8 and PyTorch 2.13.0 (float64), dtypes, states, errors."""

import doctest

import numpy as np
import pytest

import fgrad
import fgrad.optim.base
import fgrad.optim.optimizers
import fgrad.optim.schedules
import fgrad.optim.transforms
from fgrad import optim, tree
from fgrad.core.errors import ShapeError, TreeError

PARAMS = {"b": np.array([0.5, -1.0]), "w": np.array([[1.0, -2.0, 0.25]])}
GRADS = [
    {"b": np.array([0.5, -1.0]), "w": np.array([[2.0, 0.0, -0.125]])},
    {"b": np.array([0.25, 3.0]), "w": np.array([[-1.0, 0.0, 0.5]])},
    {"b": np.array([-0.75, 0.5]), "w": np.array([[0.0, 0.0, 4.0]])},
    {"b": np.array([1.5, -0.25]), "w": np.array([[0.125, 0.0, -2.0]])},
]
WARMUP = optim.warmup_cosine_decay_schedule(0.0, 0.5, 2, 6, 0.05)
OPTIMIZERS = {
    "sgd": optim.sgd(0.1),
    "momentum": optim.sgd(0.1, 0.9),
    "nesterov": optim.sgd(0.1, 0.9, True),
    "sgd_decay": optim.sgd(0.1, 0.9, weight_decay=0.2),
    "sgd_decay_nesterov": optim.sgd(0.1, 0.9, nesterov=True, weight_decay=0.2),
    "adam": optim.adam(0.1),
    "adam_eps_root": optim.adam(0.1, 0.8, 0.95, 1e-3, 1e-4),
    "nadam": optim.adam(0.1, nesterov=True),
    "adamw": optim.adamw(0.1, weight_decay=0.2),
    "adamw_mask": optim.adamw(0.1, weight_decay=0.2, mask={"b": False, "w": True}),
    "adamw_mask_function": optim.adamw(0.1, weight_decay=0.2, mask=lambda p: tree.map(lambda x: x.ndim > 1, p)),
    "adamw_decay_schedule": optim.adamw(0.1, weight_decay=lambda count: 0.2),
    "rmsprop": optim.rmsprop(0.1),
    "rmsprop_outside": optim.rmsprop(0.1, 0.8, 1e-2, 1.0, False),
    "rmsprop_momentum": optim.rmsprop(0.1, momentum=0.9, nesterov=True),
    "adagrad": optim.adagrad(0.1),
    "adagrad_zero": optim.adagrad(0.1, 0.0, 0.01),
    "lion": optim.lion(0.1, weight_decay=0.2),
    "clip_norm_schedule": optim.chain(optim.clip_by_global_norm(1.0), optim.adam(WARMUP)),
    "clip_decay_schedule": optim.chain(
        optim.clip(0.75),
        optim.add_decayed_weights(0.1),
        optim.scale_by_schedule(optim.exponential_decay(-0.5, 2, 0.5)),
    ),
}
# Parameters after the four GRADS, b before w; sgd_decay is made by torch.optim.SGD, the others from optax (given
# int64 counts for schedules: at its own int32 ones it computes them in float32).
FINAL = {
    "sgd": [0.35, -1.2250000000000003, 0.8875000000000001, -2.0, 0.012500000000000011],
    "momentum": [0.2528, -1.5391000000000004, 0.5706999999999999, -2.0, -0.40251250000000005],
    "nesterov": [0.12752000000000002, -1.7101900000000003, 0.5011300000000001, -2.0, -0.57476125],
    "adam": [0.2692091685834606, -1.0315692705404924, 0.8326922751246704, -2.0, 0.20045117601979537],
    "adam_eps_root": [0.2766084319321006, -1.0377297804975694, 0.8473606562723704, -2.0, 0.19309827767875928],
    "nadam": [0.23365334141016805, -1.0197333024607385, 0.8360873571148946, -2.0, 0.18480713005328078],
    "adamw": [0.2398015261494707, -0.9569069643916716, 0.7624076883696299, -1.84473632, 0.1787556941399139],
    "adamw_mask": [0.2692091685834606, -1.0315692705404924, 0.7624076883696299, -1.84473632, 0.1787556941399139],
    "rmsprop": [0.023683310740914787, -1.0100955638615052, 0.8107789461243624, -2.0, 0.09122182987507052],
    "rmsprop_outside": [0.3576539261863096, -1.1009845538885203, 0.9119633012116042, -2.0, 0.101066052947933],
    "rmsprop_momentum": [-1.1140795952620934, -0.8313722545187716, 0.17324160518556125, -2.0, -0.0853306469863615],
    "adagrad": [0.3689881870835354, -1.0068454916866407, 0.9399811519712775, -2.0, 0.14951236420646774],
    "adagrad_zero": [0.3529261134238011, -1.0031457580473309, 0.9392255713129404, -2.0, 0.17811549331141355],
    "lion": [0.26902488, -0.92228896, 0.72628896, -1.84473632, 0.23067123999999994],
    "clip_norm_schedule": [-0.03721331440388481, -1.3943769064853215, 0.6398490088867985, -2.0, -0.2499163486891621],
    "clip_decay_schedule": [
        0.17482570714938994,
        -0.8638054820407611,
        0.7631122776440487,
        -1.755414164088894,
        0.05625733908278871,
    ],
    "adamw_mask_function": [
        0.2692091685834606,
        -1.0315692705404924,
        0.7624076883696299,
        -1.84473632,
        0.1787556941399139,
    ],
    "adamw_decay_schedule": [
        0.2398015261494707,
        -0.9569069643916716,
        0.7624076883696299,
        -1.84473632,
        0.1787556941399139,
    ],
    "sgd_decay": [0.17435567999999999, -1.35775136, 0.4233041599999998, -1.6489971200000002, -0.4368369600000001],
    "sgd_decay_nesterov": [
        0.03229520620799991,
        -1.455834672416,
        0.33068900609599994,
        -1.5411170774719998,
        -0.5980384270260002,
    ],
}
SCHEDULES = {
    "poly": optim.polynomial_schedule(1.0, 0.1, 2, 10, 3),
    "linear": optim.linear_schedule(0.5, 2.0, 8, 2),
    "exp": optim.exponential_decay(1.0, 4, 0.5, 2),
    "exp_stair": optim.exponential_decay(1.0, 4, 0.5, 2, True, 0.3),
    "exp_grow": optim.exponential_decay(1.0, 4, 2.0, end_value=5.0),
    "cos": optim.cosine_decay_schedule(2.0, 10, 0.1, 1.5),
    "piece": optim.piecewise_constant_schedule(1.0, {3: 0.5, 7: 0.1}),
    "warm": optim.warmup_cosine_decay_schedule(0.1, 1.0, 4, 12, 0.2),
    "nowarm": optim.warmup_cosine_decay_schedule(0.1, 1.0, 0, 12, 0.2),
    "join": optim.join_schedules(
        [optim.constant_schedule(1.0), optim.linear_schedule(1.0, 0.0, 4), optim.constant_schedule(0.25)], [3, 8]
    ),
}
STEPS = (0, 1, 2, 3, 5, 7, 8, 12, 20)
# fmt: off
SCHEDULED = {  # at STEPS
    "poly": [1.0, 1.0, 1.0, 1.0, 0.6760000000000002, 0.42400000000000004, 0.325, 0.109, 0.1],
    "linear": [0.5, 0.5, 0.5, 0.6875, 1.0625, 1.4375, 1.625, 2.0, 2.0],
    "exp": [1.0, 1.0, 1.0, 0.8408964152537145, 0.5946035575013605, 0.42044820762685725, 0.3535533905932738,
        0.1767766952966369, 0.04419417382415922],
    "exp_stair": [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.3, 0.3],
    "exp_grow": [1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429, 2.378414230005442, 3.363585661014858,
        4.0, 5.0, 5.0],
    "cos": [2.0, 1.9343321956882016, 1.7484296605300702, 1.4732543169224006, 0.8363961030678928, 0.36842742138057627,
        0.2531152949374527, 0.2, 0.2],
    "piece": [1.0, 1.0, 1.0, 0.5, 0.5, 0.05, 0.05, 0.05, 0.05],
    "warm": [0.09999999999999998, 0.32499999999999996, 0.55, 0.775, 0.9695518130045147, 0.7530733729460359,
        0.6000000000000001, 0.2, 0.2],
    "nowarm": [1.0, 0.9863703305156273, 0.9464101615137757, 0.882842712474619, 0.7035276180410084, 0.4964723819589918,
        0.40000000000000013, 0.2, 0.2],
    "join": [1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.25, 0.25, 0.25],
}
# fmt: on


def run(optimizer, params, update=None):
    update = update or optimizer.update
    state = optimizer.init(params)
    for grads in GRADS:
        grads = tree.map(lambda g, p: g.astype(p.dtype), grads, params)
        updates, state = update(grads, state, params)
        params = optim.apply_updates(params, updates)
    return params, state


def flat(params):
    return np.concatenate([np.ravel(leaf) for leaf in tree.leaves(params)])


def types(pytree):
    return [(np.shape(leaf), np.asarray(leaf).dtype) for leaf in tree.leaves(pytree)]


def copies(dtype):
    return tree.map(lambda p: p.astype(dtype), PARAMS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_after_four_steps(name):
    params, _ = run(OPTIMIZERS[name], PARAMS)
    np.testing.assert_allclose(flat(params), FINAL[name], rtol=1e-13, atol=1e-15)
    assert all(type(leaf) is np.ndarray for leaf in tree.leaves(params))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_jit_of_the_update_agrees(name):
    optimizer = OPTIMIZERS[name]
    params, state = run(optimizer, PARAMS, fgrad.jit(optimizer.update))
    np.testing.assert_allclose(flat(params), FINAL[name], rtol=1e-12, atol=1e-14)
    assert types(state) == types(run(optimizer, PARAMS)[1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_is_kept_and_the_state_keeps_its_types(name):
    optimizer, params = OPTIMIZERS[name], copies(np.float32)
    first = optimizer.init(params)
    after, state = run(optimizer, params)
    assert [leaf.dtype for leaf in tree.leaves(after)] == [np.float32, np.float32]
    assert tree.structure(state) == tree.structure(first)
    assert types(state) == types(first)
    np.testing.assert_allclose(flat(after), FINAL[name], rtol=2e-5, atol=2e-5)


def test_step_counts_are_int64_scalars():
    _, state = run(optim.adam(WARMUP), PARAMS)
    adam, schedule = state
    for count in (adam.count, schedule.count):
        assert np.asarray(count).dtype == np.int64 and np.shape(count) == () and count == 4


def test_inputs_are_not_changed():
    params, grads = copies(np.float64), tree.map(np.copy, GRADS[0])
    optimizer = optim.adamw(0.1)
    state = optimizer.init(params)
    before = tree.map(np.copy, state)
    updates, _ = optimizer.update(grads, state, params)
    optim.apply_updates(params, updates)
    for left, right in [(params, PARAMS), (grads, GRADS[0]), (state, before)]:
        np.testing.assert_array_equal(flat(left), flat(right))


def test_strong_scalars_do_not_widen_float32():
    params = copies(np.float32)
    for rate in (np.float64(0.1), np.array(0.1), lambda count: np.float64(0.1)):
        after, _ = run(optim.sgd(rate), params)
        assert {leaf.dtype for leaf in tree.leaves(after)} == {np.dtype(np.float32)}
    updates = optim.apply_updates({"w": np.float32(1.0)}, {"w": np.float64(0.5)})
    assert updates["w"].dtype == np.float32


def test_scalar_parameters_and_empty_trees():
    for optimizer in (
        optim.sgd(0.5, 0.9),
        optim.adam(0.5),
        optim.chain(optim.clip_by_global_norm(1.0), optim.lion(0.5)),
    ):
        params = np.float64(2.0)
        updates, _ = optimizer.update(np.float64(1.0), optimizer.init(params), params)
        assert np.shape(updates) == () and float(optim.apply_updates(params, updates)) == pytest.approx(1.5, abs=2e-3)
        assert optimizer.update({}, optimizer.init({}), {})[0] == {}
        empty = np.zeros((0, 3))
        assert optimizer.update(empty, optimizer.init(empty), empty)[0].shape == (0, 3)


def test_none_is_no_parameter():
    params = {"b": None, "w": np.array([1.0])}
    optimizer = optim.adamw(0.1, weight_decay=0.0)
    updates, _ = optimizer.update({"b": None, "w": np.array([3.0])}, optimizer.init(params), params)
    after = optim.apply_updates(params, updates)
    assert after["b"] is None and after["w"] == pytest.approx(0.9)


def test_complex_parameters():
    # Made by optax.adam(0.1) of optax 0.2.8.
    optimizer, params = optim.adam(0.1), np.array([1 + 2j])
    state = optimizer.init(params)
    for grads in (np.array([0.5 - 1j]), np.array([2 + 0.25j])):
        updates, state = optimizer.update(grads, state, params)
        params = optim.apply_updates(params, updates)
    np.testing.assert_allclose(params, [0.8761706224721593 + 2.1104305599104403j], rtol=1e-12)
    assert state[0].nu.dtype == np.float64


def test_training_converges_inside_jit():
    rng = np.random.default_rng(0)
    x, truth = rng.normal(size=(100, 3)), np.array([1.0, -2.0, 0.5])
    y = x @ truth + 3.0
    optimizer = optim.adam(optim.cosine_decay_schedule(0.3, 400))

    def loss(params):
        return ((x @ params["w"] + params["b"] - y) ** 2).mean()

    @fgrad.jit
    def step(params, state):
        updates, state = optimizer.update(fgrad.grad(loss)(params), state, params)
        return optim.apply_updates(params, updates), state

    params = {"w": np.zeros(3), "b": np.float64(0.0)}
    state = optimizer.init(params)
    for _ in range(400):
        params, state = step(params, state)
    np.testing.assert_allclose(params["w"], truth, atol=1e-4)
    np.testing.assert_allclose(params["b"], 3.0, atol=1e-4)


def test_gradient_through_an_optimizer():
    def after_two_steps(rate):
        params, optimizer = np.array([1.0, -2.0]), optim.sgd(rate, momentum=0.5)
        state = optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(3.0 * params, state, params)
            params = optim.apply_updates(params, updates)
        return (params**2).sum()

    h = 1e-6
    expected = (after_two_steps(0.1 + h) - after_two_steps(0.1 - h)) / (2 * h)
    assert float(fgrad.grad(after_two_steps)(0.1)) == pytest.approx(expected, rel=1e-7)


# Schedules


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    schedule = SCHEDULES[name]
    np.testing.assert_allclose([float(schedule(step)) for step in STEPS], SCHEDULED[name], rtol=1e-13, atol=1e-15)
    counted = [np.asarray(schedule(np.int64(step))) for step in STEPS]
    np.testing.assert_allclose(counted, SCHEDULED[name], rtol=1e-13, atol=1e-15)
    assert {value.dtype for value in counted} == {np.dtype(np.float64)}
    np.testing.assert_allclose(fgrad.jit(schedule)(np.int64(5)), SCHEDULED[name][4], rtol=1e-13)


def test_schedule_edges():
    assert optim.linear_schedule(0.5, 1.0, 0)(3) == 0.5
    assert float(optim.exponential_decay(1.0, 1, 0.5, transition_begin=5000)(0)) == 1.0
    assert optim.piecewise_constant_schedule(0.25)(10) == 0.25


# Clipping and norms


def test_global_norm_and_clipping():
    rng = np.random.default_rng(3)
    grads = {"a": rng.normal(size=(3, 4)), "b": [rng.normal(size=5)]}
    norm = np.linalg.norm(flat(grads))
    np.testing.assert_allclose(optim.global_norm(grads), norm, rtol=1e-14)
    assert float(optim.global_norm({})) == 0.0
    assert float(optim.global_norm(np.array([3 + 4j]))) == pytest.approx(5.0)
    clipped, _ = optim.clip_by_global_norm(0.5).update(grads, optim.EmptyState())
    np.testing.assert_allclose(flat(clipped), flat(grads) * 0.5 / norm, rtol=1e-14)
    same, _ = optim.clip_by_global_norm(1e6).update(grads, optim.EmptyState())
    np.testing.assert_array_equal(flat(same), flat(grads))
    zero, _ = optim.clip_by_global_norm(1.0).update(np.zeros(3), optim.EmptyState())
    np.testing.assert_array_equal(zero, 0.0)
    assert np.isnan(optim.clip_by_global_norm(1.0).update(np.array([np.nan, 1.0]), optim.EmptyState())[0]).all()
    bounded, _ = optim.clip(1.0).update(np.array([-np.inf, -0.5, np.nan, 7.0]), optim.EmptyState())
    np.testing.assert_array_equal(bounded, [-1.0, -0.5, np.nan, 1.0])


def test_small_links():
    updates, state = optim.identity().update(GRADS[0], optim.EmptyState())
    assert updates is GRADS[0] and state == ()
    same_sign = optim.scale_by_learning_rate(0.5, flip_sign=False)
    np.testing.assert_array_equal(same_sign.update(np.array([2.0]), same_sign.init(None))[0], [1.0])
    branch = optim.add_decayed_weights(0.1, mask={"layer": True, "norm": False})
    params = {"layer": [np.array([10.0]), np.array([20.0])], "norm": [np.array([30.0])]}
    grads = tree.map(np.zeros_like, params)
    np.testing.assert_allclose(flat(branch.update(grads, branch.init(params), params)[0]), [1.0, 2.0, 0.0])


# Errors


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: optim.sgd(-0.1), "sgd: learning_rate must be at least 0, got -0.1"),
        (lambda: optim.adam(np.float32(-1)), "adam: learning_rate must be at least 0, got -1.0"),
        (lambda: optim.lion(float("nan")), "lion: learning_rate must be at least 0, got nan"),
        (lambda: optim.sgd(0.1, momentum=1.0), r"sgd: momentum must be in \[0, 1\), got 1.0"),
        (lambda: optim.rmsprop(0.1, momentum=-0.5), r"rmsprop: momentum must be in \[0, 1\), got -0.5"),
        (lambda: optim.adam(0.1, b2=1.5), r"scale_by_adam: b2 must be in \[0, 1\), got 1.5"),
        (lambda: optim.adamw(0.1, weight_decay=-1), "add_decayed_weights: weight_decay must be at least 0, got -1"),
        (lambda: optim.clip_by_global_norm(0), "clip_by_global_norm: max_norm must be positive, got 0"),
        (lambda: optim.cosine_decay_schedule(1.0, 0), "cosine_decay_schedule: decay_steps must be positive, got 0"),
        (lambda: optim.exponential_decay(1.0, 5, 0.0), "exponential_decay: decay_rate must be positive, got 0.0"),
        (
            lambda: optim.linear_schedule(1.0, 0.0, -1),
            "polynomial_schedule: transition_steps must be at least 0, got -1",
        ),
        (
            lambda: optim.piecewise_constant_schedule(1.0, {5: -0.5}),
            "piecewise_constant_schedule: the scale at step 5 must be at least 0, got -0.5",
        ),
        (lambda: optim.join_schedules([lambda c: 1.0], [3]), "1 schedules need one boundary fewer, got 1 boundaries"),
        (
            lambda: optim.warmup_cosine_decay_schedule(0.0, 1.0, 10, 10),
            "decay_steps counts the warm-up too and must be larger than warmup_steps, got decay_steps=10 and",
        ),
    ],
)
def test_values_out_of_range(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_learning_rate_is_a_number_or_a_schedule():
    with pytest.raises(TypeError, match=r"sgd: learning_rate must be a single number, got '0\.1'"):
        optim.sgd("0.1")
    with pytest.raises(TypeError, match=r"adam: learning_rate must be a single number, got array\(\[0.1, 0.2\]\)"):
        optim.adam(np.array([0.1, 0.2]))


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "rmsprop", "adagrad", "lion", "adamw"])
def test_gradients_that_do_not_match(name):
    optimizer = OPTIMIZERS[name]
    state = optimizer.init(PARAMS)
    with pytest.raises(TreeError, match=r"grads must have the structure of params: at grads: missing key 'w'"):
        optimizer.update({"b": PARAMS["b"]}, state, PARAMS)
    wrong = {"b": PARAMS["b"], "w": np.zeros((4, 3))}
    with pytest.raises(
        ShapeError, match=r"grads must have the shapes of params: at grads\['w'\] expected \(1, 3\)"
    ) as e:
        optimizer.update(wrong, state, PARAMS)
    assert "got: (4, 3)" in str(e.value) and "test_optim.py" in str(e.value)


def test_gradients_that_do_not_match_the_state():
    optimizer = optim.adam(0.1)
    with pytest.raises(
        TreeError, match="grads must have the structure of the optimiser's state: at grads: expected a dict"
    ):
        optimizer.update([np.zeros(2)], optimizer.init(PARAMS))
    with pytest.raises(
        ValueError, match="this optimiser chains 2 transformations, but the state has 1 parts; pass a state"
    ):
        optimizer.update(GRADS[0], optim.chain(optim.identity()).init(PARAMS))


def test_updates_and_masks_that_do_not_match():
    with pytest.raises(TreeError, match=r"updates must have the structure of params: at updates: missing key 'w'"):
        optim.apply_updates(PARAMS, {"b": PARAMS["b"]})
    optimizer = optim.adamw(0.1, mask={"b": False})
    with pytest.raises(TreeError, match="the mask is not a prefix of its tree"):
        optimizer.update(GRADS[0], optimizer.init(PARAMS), PARAMS)


def test_weight_decay_needs_the_parameters():
    optimizer = optim.adamw(0.1)
    with pytest.raises(
        ValueError, match=r"weight decay needs the parameters, got params=None: call update\(grads, state"
    ):
        optimizer.update(GRADS[0], optimizer.init(PARAMS))


@pytest.mark.parametrize(
    "module",
    [optim, optim.base, optim.schedules, optim.transforms, optim.optimizers],
    ids=lambda m: m.__name__,
)
def test_docstring_examples(module):
    failed, run = doctest.testmod(module)
    assert run and not failed


def test_every_public_name_is_documented():
    for name in optim.__all__:
        assert getattr(optim, name).__doc__
