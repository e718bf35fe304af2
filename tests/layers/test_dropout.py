"""``thinned.Dropout``: what a user of ``torch.nn.Dropout`` relies on, and the worked example."""

import doctest

import pytest
import torch

import thinned
from thinned import functional, masks
from thinned.layers import Dropout
from thinned.ops import dispatch


def test_worked_example():
    """Activations 0.36, 0.13, 0.42, 0.25 under the mask 1, 0, 1, 0 at p = 0.5, and a gradient coming back."""
    a = torch.tensor([0.36, 0.13, 0.42, 0.25], requires_grad=True)
    assert masks.keep_mask((4,), 0.5, key=20).tolist() == [True, False, True, False]
    out = functional.dropout(a, 0.5, key=20)
    assert torch.equal(out, torch.tensor([0.72, 0.0, 0.84, 0.0]))
    out.backward(torch.tensor([0.3, -0.1, 0.2, -0.05]))
    assert torch.equal(a.grad, torch.tensor([0.6, 0.0, 0.4, 0.0]))
    layer = Dropout(0.5)
    layer.key = torch.tensor(20)
    assert torch.equal(layer(a), out)
    assert layer.eval()(a) is a


def test_training_survivors_are_scaled_and_the_rest_is_0():
    x = torch.randn(1000)
    out = Dropout(0.5)(x)
    assert ((out == 0) | (out == 2 * x)).all()


def test_evaluation_passes_the_same_object():
    x = torch.randn(5)
    for layer in (Dropout(0.5).eval(), Dropout(0.5, inplace=True).eval()):
        assert layer(x) is x
    assert functional.dropout(x, 0.5, training=False) is x
    assert functional.alpha_dropout(x, 0.5) is x
    assert functional.gaussian_dropout(x, 0.5, training=False) is x
    assert torch.equal(functional.dropout_add(x, x, 0.5, training=False), x + x)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_ends(p):
    x = torch.tensor([1.0, -0.0, float("inf"), float("nan")])
    out = Dropout(p)(x)
    expected = x if p == 0 else torch.zeros(4)
    assert torch.equal(out.view(torch.int32), expected.view(torch.int32))
    assert out is not x


def test_in_place():
    x = torch.ones(100)
    assert Dropout(0.5, inplace=True)(x) is x
    assert set(x.tolist()) == {0.0, 2.0}


def test_in_place_needs_a_place_for_each_element() -> None:
    with pytest.raises(RuntimeError, match="inplace=True needs a tensor whose elements have a place each; got one of"):
        functional.dropout(torch.ones(1, 4).expand(300, 4), 0.5, inplace=True, key=1)


def test_as_torch_prints_itself():
    assert repr(Dropout(0.3)) == repr(torch.nn.Dropout(0.3))


def test_survivors_are_scaled_by_the_quantised_rate():
    """The expected value is the input for every p: K / 65,536 of the lanes keep, and the scale is 65,536 / K."""
    for p in (0.1, 1 / 3, 0.9, 1e-6, 0.99999):
        kept = thinned.philox.threshold(p)
        assert set(functional.dropout(torch.ones(4096, dtype=torch.float64), p, key=1).tolist()) <= {0.0, 65536 / kept}


def test_address_in_buffers():
    layer = Dropout(0.5)
    layer.key, layer.call, layer.rate = torch.tensor(3), torch.tensor(4), torch.tensor(0.2, dtype=torch.float64)
    x = torch.ones(500)
    assert torch.equal(layer(x), functional.dropout(x, 0.2, key=3, call=4))
    assert layer.state_dict() == {}
    keys = torch.tensor([1, 2])
    rates = torch.tensor([0.1, 0.7], dtype=torch.float64)

    def member(x, key, rate):
        return torch.func.functional_call(layer, {"key": key, "rate": rate}, (x,))

    out = torch.func.vmap(member, in_dims=(None, 0, 0))(x, keys, rates)
    assert torch.equal(out[1], functional.dropout(x, 0.7, key=2, call=4))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 1, 3)])
def test_shapes_without_much_in_them(shape):
    x = torch.ones(shape)
    for function in (functional.dropout, functional.alpha_dropout, functional.gaussian_dropout):
        for impl in ("native", "aten", "reference"):
            assert function(x, 0.5, True, impl=impl).shape == shape


@pytest.mark.parametrize("module", [functional.elementwise, masks], ids=lambda module: module.__name__)
def test_examples_in_docstrings(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_a_first_draw_in_inference_mode_leaves_later_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_scalars", [])
    with torch.inference_mode():
        thinned.functional.dropout(torch.ones(4))
    assert thinned.functional.dropout(torch.ones(4)).shape == (4,)
