"""Each private function of torch does what the operators rely on: a new version of torch fails here first."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from thinned.ops import torch_private


def test_functorch_active() -> None:
    inside = []
    torch.func.vmap(lambda x: inside.append(torch_private.functorch_active()) or x)(torch.ones(2))
    assert inside == [True]
    assert not torch_private.functorch_active()


def test_dispatch_mode_depth() -> None:
    assert torch_private.dispatch_mode_depth() == 0
    with TorchDispatchMode():
        assert torch_private.dispatch_mode_depth() == 1


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
def test_forward_ad_active() -> None:
    assert not torch_private.forward_ad_active()
    with forward_ad.dual_level():
        assert torch_private.forward_ad_active()


def test_innermost_vmap_and_only_vmap_active() -> None:
    inside = []

    def note(x: torch.Tensor) -> torch.Tensor:
        inside.append((torch_private.innermost_vmap() is not None, torch_private.only_vmap_active()))
        return x.sum()

    x = torch.ones(2, 3)
    torch.func.vmap(note)(x)
    torch.func.vmap(torch.func.grad(note))(x)
    torch.func.grad(lambda x: torch.func.vmap(note)(x).sum())(x)
    assert inside == [(True, True), (False, False), (True, False)]
    assert torch_private.only_vmap_active()


def test_members_are_hidden_and_found_again() -> None:
    seen = []

    def note(x: torch.Tensor) -> torch.Tensor:
        interpreter = torch_private.innermost_vmap()
        assert interpreter is not None
        level = interpreter.level()
        dim = torch_private.batch_dim(x, level)
        with interpreter.lower():
            doubled = torch_private.without_batch_dim(x) * 2
        seen.append((dim, torch_private.batch_dim(torch.ones(2), level), torch_private.batch_dim(3, level)))
        return torch_private.add_batch_dim(doubled, dim, level)

    x = torch.arange(6.0).view(2, 3)
    assert torch.equal(torch.func.vmap(note, in_dims=1)(x), 2 * x.T)
    assert seen == [(1, None, None)]


def test_check_attention_shapes() -> None:
    x = torch.ones(5, 3, 4)
    assert torch_private.check_attention_shapes(x, x, x, None, None, num_heads=2)
    assert not torch_private.check_attention_shapes(x[0], x[0], x[0], None, None, num_heads=2)
    with pytest.raises(AssertionError):
        torch_private.check_attention_shapes(x, x[0], x, None, None, num_heads=2)


def test_break_graph() -> None:
    graphs: list[object] = []

    def backend(module: torch.fx.GraphModule, _: object) -> object:
        graphs.append(module)
        return module.forward

    @torch.compile(backend=backend)
    def function(x: torch.Tensor) -> torch.Tensor:
        y = x + 1
        torch_private.break_graph()
        return y * 2

    assert torch.equal(function(torch.ones(2)), torch.full((2,), 4.0))
    assert len(graphs) == 2


@pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning")  # inside torch itself
def test_tracing() -> None:
    inside = []
    torch.jit.trace(lambda x: inside.append(torch_private.tracing()) or x + 1, torch.ones(2), check_trace=False)
    assert inside == [True]
    assert not torch_private.tracing()


def test_any_hook() -> None:
    module = torch.nn.Linear(1, 1)
    assert not torch_private.any_hook(module)
    for register in ("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"):
        handle = getattr(module, f"register_{register}")(lambda *_: None)
        assert torch_private.any_hook(torch.nn.Linear(1, 1), module)
        handle.remove()
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert torch_private.any_hook(module)
    handle.remove()
    assert not torch_private.any_hook(module)


@pytest.mark.parametrize("strict", [False, True])
def test_exporting(strict: bool) -> None:
    class Asks(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1 if torch_private.exporting() else x - 1

    x = torch.zeros(2)
    assert torch.equal(Asks()(x), x - 1)
    assert torch.equal(torch.compile(Asks(), backend="eager", fullgraph=True)(x), x - 1)
    assert torch.equal(torch.export.export(Asks(), (x,), strict=strict).module()(x), x + 1)
    assert torch.equal(Asks()(x), x - 1)
