"""What else a converted model meets: symbolic tracing, nested tensors, torch.compile's wrapper, checkpointing."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import thinned
from thinned import masks, philox


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.line, self.drop = nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(F.dropout(self.line(x), 0.25, self.training))


CHANGES = pytest.mark.parametrize(
    "change", [thinned.convert, lambda model: thinned.address(model, 3)], ids=["drawn", "addressed"]
)


def key_of(name, seed):
    return philox.fold_in(seed, philox.site_number(name))


@CHANGES
class TestSymbolicTracing:
    def test_training_is_refused(self, change):
        for model in (Net(), nn.Sequential(Net()), nn.Sequential(nn.Identity(), nn.Dropout(0.5), Net())):
            change(model)
            with pytest.raises(
                NotImplementedError, match=r"torch.fx can't trace a converted model in training, .*; call"
            ):
                torch.fx.symbolic_trace(model)

    def test_evaluation(self, change):
        model = Net().eval()
        x = torch.randn(3, 4)
        expected = model(x)
        change(model)
        assert torch.equal(torch.fx.symbolic_trace(model)(x), expected)

    def test_a_traced_model_is_converted(self, change):
        traced = torch.fx.symbolic_trace(nn.Sequential(nn.Identity(), nn.Dropout(0.5)))
        change(traced)
        assert (traced(torch.ones(64)) == 0).any()
        assert type(traced.get_submodule("1")).__module__.startswith("thinned.")


class TestNested:
    def jagged(self, *lengths):
        return torch.nested.nested_tensor([torch.ones(n, 4) for n in lengths], layout=torch.jagged)

    @CHANGES
    def test_a_decision_for_each_element(self, change):
        model = Net()
        change(model)
        x = self.jagged(2, 5, 1)
        out = model(x)
        assert out.shape == x.shape
        assert (out.values() == 0).any()
        out.values().sum().backward()
        assert model.line.weight.grad.any()
        assert torch.equal(model.eval()(x).values(), model.line(x).values())

    def test_the_mask_is_that_of_the_values(self):
        model = nn.Sequential(nn.Identity(), nn.Dropout(0.5))
        thinned.address(model, 3)
        out = model(self.jagged(3, 4))
        assert torch.equal(out.values() != 0, masks.keep_mask((7, 4), 0.5, key_of("1", 3)))

    @pytest.mark.parametrize(
        "layer", [thinned.LockedDropout(0.5), thinned.DropPath(0.5), nn.Dropout(0.5, inplace=True)]
    )
    def test_others_are_refused(self, layer):
        thinned.convert(layer)
        with pytest.raises(
            NotImplementedError, match=r"dropout of a nested tensor needs layout=torch.jagged, .*; pad it"
        ):
            layer(self.jagged(3, 4))


@pytest.mark.filterwarnings("ignore")
class TestCompileWrapper:
    def test_the_model_within_is_addressed(self):
        torch.manual_seed(0)
        model = Net()
        twin = copy.deepcopy(model)
        thinned.address(twin, 3)
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="aot_eager")
        report = thinned.address(compiled, 3)
        assert report.converted["drop"] == "Dropout"
        x = torch.ones(2, 4)
        for _ in range(2):
            assert torch.equal(compiled(x) == 0, twin(x) == 0)
        assert compiled.thinned_clock.item() == 2

    def test_one_that_has_been_compiled(self):
        model = Net()
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="aot_eager")
        x = torch.ones(64, 4)
        compiled(x)
        thinned.address(compiled, 3)
        assert torch.equal(compiled(x) == 0, thinned_twin(model)(x) == 0)

    def test_converted(self):
        compiled = torch.compile(Net(), backend="aot_eager")
        assert thinned.convert(compiled, torch.ones(2, 4)).converted == {"drop": "Dropout", "": "dropout"}


def thinned_twin(model):
    twin = copy.deepcopy(model)
    twin.thinned_clock.zero_()
    return twin


class Reversible(torch.autograd.Function):
    """y1 = x1 + f(x2), y2 = x2 + g(y1): inputs are computed anew from outputs in the backward pass."""

    @staticmethod
    def forward(ctx, x1, x2, f, g):
        with torch.no_grad():
            ctx.states = [torch.get_rng_state()]
            y1 = x1 + f(x2)
            ctx.states.append(torch.get_rng_state())
            y2 = x2 + g(y1)
        ctx.f, ctx.g = f, g
        ctx.save_for_backward(y1.detach(), y2.detach())
        return y1, y2

    @staticmethod
    def backward(ctx, d1, d2):
        y1, y2 = ctx.saved_tensors
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            y1 = y1.detach().requires_grad_()
            torch.set_rng_state(ctx.states[1])
            g = ctx.g(y1)
            g.backward(d2)
            x2 = (y2 - g.detach()).requires_grad_()
            d1 = d1 + y1.grad
            torch.set_rng_state(ctx.states[0])
            ctx.f(x2).backward(d1)
        return d1, d2 + x2.grad, None, None


class Branches(nn.Module):
    def __init__(self, reversible, blocks=3):
        super().__init__()
        self.fs, self.gs = (nn.ModuleList(Net() for _ in range(blocks)) for _ in range(2))
        self.shared, self.reversible = Net(), reversible

    def forward(self, x1, x2):
        for f, g in [*zip(self.fs, self.gs, strict=True), (self.shared, self.shared)]:
            if self.reversible:
                x1, x2 = Reversible.apply(x1, x2, f, g)
            else:
                x1 = x1 + f(x2)
                x2 = x2 + g(x1)
        return x1 + x2


@pytest.mark.parametrize("passes", [1, 3])
def test_reversible_layers(passes):
    """Gradients of as many forward passes before one backward pass are those without recomputation."""
    results = []
    for reversible in (False, True):
        torch.manual_seed(0)
        model = Branches(reversible).double()
        thinned.address(model, 5)
        x = torch.randn(2, 8, 4, dtype=torch.float64, requires_grad=True)
        sum(model(x[0] + n, x[1]).square().sum() for n in range(passes)).backward()
        results.append([x.grad, *(p.grad for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


class Around(nn.Module):
    """A function that is no module, checkpointed within forward, with another checkpoint in it."""

    def __init__(self, reentrant, nested):
        super().__init__()
        self.block, self.reentrant, self.nested = Net(), reentrant, nested

    def inner(self, x):
        return F.dropout(self.block(x) + x, 0.3, self.training)

    def part(self, x):
        x = F.dropout(x, 0.3, self.training)
        x = checkpoint(self.inner, x, use_reentrant=self.reentrant) if self.nested else self.inner(x)
        return self.block(F.dropout(x, 0.3, self.training)).tanh()

    def forward(self, x):
        x = F.dropout(x, 0.3, self.training)
        x = self.part(x) if self.reentrant is None else checkpoint(self.part, x, use_reentrant=self.reentrant)
        return F.dropout(self.block(x), 0.3, self.training).tanh()


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # of the inner region, in the forward
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_a_checkpointed_function_of_an_addressed_model(reentrant, nested):
    results = []
    for form in (None, reentrant):
        torch.manual_seed(0)
        model = Around(form, nested and form is not None).double()
        thinned.address(model, 5)
        x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4).requires_grad_()
        (model(x) * model(x + 1)).sum().backward()
        results.append([x.grad, *(p.grad for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("reentrant", [True, False])
def test_whole_models_within_a_checkpoint(reentrant):
    """Each of the passes in the region gets its number once more."""
    results = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        first, second = Net().double(), Net().double()
        thinned.address(first, 1)
        thinned.address(second, 2)

        def run(x, first=first, second=second):
            return second(first(first(x)).tanh())

        x = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4).requires_grad_()
        out = checkpoint(run, x, use_reentrant=reentrant) if checkpointed else run(x)
        out.square().sum().backward()
        assert (first.thinned_clock.item(), second.thinned_clock.item()) == (2, 1)
        results.append([x.grad, *(p.grad for p in (*first.parameters(), *second.parameters()))])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
