"""Each private name of torch that conversion relies on means what it is taken for."""

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from thinned.conversion import torch_private
from thinned.conversion.recomputation import surroundings


def test_saving():
    answers = []

    def inner(x):
        answers.append(torch_private.saving())
        return x * 2

    def outer(x):
        answers.append(torch_private.saving())
        y = checkpoint(inner, x, use_reentrant=False)
        answers.append(torch_private.saving())
        return checkpoint(inner, y, use_reentrant=False)

    assert torch_private.saving() is None
    checkpoint(outer, torch.ones(1, requires_grad=True), use_reentrant=False)
    first, second, third, fourth = answers
    assert first is third
    assert len({None, first, second, fourth}) == 4
    assert torch_private.saving() is None


@pytest.mark.skipif(
    not hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"), reason="this torch doesn't tell the function"
)
def test_saving_by_a_function_of_the_users():
    pack = str
    with torch.autograd.graph.saved_tensors_hooks(pack, float):
        assert torch_private.saving() is pack
    assert torch_private.saving() is None


def test_in_backward():
    answers = []
    x = torch.ones(1, requires_grad=True)
    x.register_hook(lambda _: answers.append(torch_private.in_backward()))
    answers.append(torch_private.in_backward())
    (x * 2).sum().backward()
    assert answers == [False, True]


def test_function_modes():
    class Mode(TorchFunctionMode):
        pass

    assert torch_private.innermost_function_mode() is None
    with Mode() as mode:
        assert torch_private.innermost_function_mode() is mode
        with torch_private.without_innermost_function_mode():
            assert torch_private.innermost_function_mode() is None


def test_symbolic_tracing():
    class Asks(torch.nn.Module):
        def forward(self, x):
            answers.append(torch_private.symbolic_tracing())
            return x

    answers = []
    model = Asks()
    model(torch.ones(1))
    torch.fx.symbolic_trace(model)
    assert answers == [False, True]


def test_open_checkpoints_are_seen():
    """Both forms, one within the other, with what each keeps and whether it preserves the generator's state."""
    regions = []

    def inner(x):
        regions.extend(surroundings().regions)
        return x * 2

    def outer(x):
        return checkpoint(inner, x, use_reentrant=False, preserve_rng_state=False)

    assert surroundings() == ((), False)
    x = torch.ones(1, requires_grad=True)
    checkpoint(outer, x, use_reentrant=False)
    kept = [region.preserves_random_state for region in regions]
    assert kept == [False, True]
    assert all(callable(region.function()) for region in regions)
    regions.clear()
    checkpoint(inner, x, use_reentrant=True)
    assert [region.function() for region in regions] == [inner]


def test_custom_functions_are_seen():
    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            answers.append(surroundings().custom_function)
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    answers = []
    Custom.apply(torch.ones(1, requires_grad=True))
    assert answers == [True]
