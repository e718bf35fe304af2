"""Masks at addresses: the clock, copies, checkpointing, resuming, compiled and parallel runs."""

import copy
import io
import pickle
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import thinned
from thinned import masks, philox
from thinned.conversion import api
from thinned.tracing import sites


class Block(nn.Module):
    """Every kind of site: a module that is called twice, a functional one, attention and recurrent ones."""

    def __init__(self, width=8):
        super().__init__()
        self.drop = nn.Dropout(0.3)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.2, batch_first=True)
        self.rnn = nn.GRU(width, width, 2, dropout=0.4, batch_first=True)
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        x = self.drop(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.drop(self.rnn(x)[0])
        return F.dropout(self.linear(x), 0.25, self.training)


class Net(nn.Module):
    def __init__(self, checkpointed=None, shared=False):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.checkpointed = checkpointed
        self.shared = shared

    def forward(self, x):
        for block in [*self.blocks, *(self.blocks if self.shared else ())]:
            run = block if self.checkpointed is None else partial(checkpoint, block, use_reentrant=self.checkpointed)
            x = run(x)
        return x


def make(**options):
    torch.manual_seed(0)
    return Net(**options)


def gradients(model):
    return [p.grad.clone() for p in model.parameters()]


X = torch.linspace(-1, 1, 3 * 5 * 8).reshape(3, 5, 8)


def test_a_mask_is_where_its_name_says():
    model = nn.Sequential(nn.Identity(), thinned.Dropout(0.5))
    api.address(model, 7)
    x = torch.ones(4, 6)
    key = philox.fold_in(7, philox.site_number("1"))
    for call in range(3):
        assert torch.equal(model(x) != 0, masks.keep_mask(x.shape, 0.5, key, call))
    assert model.thinned_clock.item() == 3


def test_names_of_the_recorded_pass_are_the_addresses():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return torch.stack([self.drop(x), F.dropout(x, 0.5, self.training), self.drop(x), F.dropout(x, 0.5)])

    model = nn.Sequential(Twice())
    x = torch.ones(4, 6)
    names = [site.name for site in sites.find(model, x)]
    assert names == ["0.drop", "0", "0.drop#1", "0#1"]
    api.address(model, 3)
    for call, out in enumerate([model(x), model(x)]):
        for name, y in zip(names, out, strict=True):
            assert torch.equal(y != 0, masks.keep_mask(x.shape, 0.5, philox.fold_in(3, philox.site_number(name)), call))


def test_masks_depend_on_seed_and_clock_only():
    model, again, other = make(), make(), make()
    for m, seed in ((model, 1), (again, 1), (other, 2)):
        api.address(m, seed)
    torch.manual_seed(1)
    first, second = model(X), model(X)
    torch.manual_seed(2)
    assert torch.equal(again(X), first)
    assert torch.equal(again(X), second)
    assert not torch.equal(first, second)
    assert not torch.equal(other(X), first)


def test_the_clock_counts_training_forwards_only():
    model = make()
    api.address(model, 1)
    model.eval()
    model(X)
    assert model.thinned_clock.item() == 0
    model.train()
    sites.find(model, X)
    assert model.thinned_clock.item() == 0
    model(X)
    with torch.no_grad():
        model(X)
    assert model.thinned_clock.item() == 2
    model.blocks[0](X)  # a part called by itself is a forward pass, too
    assert model.thinned_clock.item() == 3


def test_addressing_again_starts_anew():
    model = make()
    api.address(model, 1)
    first = model(X)
    api.address(model, 1)
    assert torch.equal(model(X), first)


def test_state_dict():
    model, old = make(), make().state_dict()
    api.address(model, 1)
    model(X)
    state = model.state_dict()
    assert set(state) - set(old) == {"thinned_clock"}
    assert state["thinned_clock"].dtype == torch.int64
    assert state["thinned_clock"].shape == ()
    model.load_state_dict(old, strict=True)
    assert model.thinned_clock.item() == 1
    outer = nn.Sequential(model)
    outer.load_state_dict({f"0.{name}": value for name, value in old.items()}, strict=True)
    other = make()
    api.address(other, 1)
    other.load_state_dict(state)
    assert torch.equal(other(X), model(X))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_go_on_by_themselves(copied):
    model = make()
    api.address(model, 1)
    model(X)
    twin = copied(model)
    expected = [model(X), model(X)]
    assert twin.thinned_clock.item() == 1
    assert torch.equal(twin(X), expected[0])
    assert torch.equal(twin(X), expected[1])
    twin.load_state_dict(make().state_dict(), strict=True)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    third = torch.load(buffer, weights_only=False)
    assert torch.equal(third(X), model(X))


def test_to_and_half_keep_the_clock():
    model = make()
    api.address(model, 1)
    model(X)
    model.to(torch.float64)
    assert model.thinned_clock.dtype == torch.int64
    model(X.double())
    assert model.thinned_clock.item() == 2


def test_functional_call_and_grad():
    model, twin = make(), make()
    for m in (model, twin):
        api.address(m, 1)
    state = dict(model.named_parameters())
    clock = torch.tensor(5)
    got = torch.func.functional_call(model, {**state, "thinned_clock": clock}, (X,))
    twin.thinned_clock.fill_(5)
    assert torch.equal(got, twin(X))
    assert (clock.item(), model.thinned_clock.item()) == (6, 0)


def same_gradients(results, twice):
    """Bit for bit, but where reentrant checkpointing adds the gradients of a parameter used twice in another order.

    That order changes them by as much without any dropout (float32, 1e-7 relative).
    """
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5 if twice else 0, atol=1e-5 if twice else 0)


class TestCheckpointing:
    @pytest.mark.parametrize("reentrant", [True, False])
    @pytest.mark.parametrize("addressed", [True, False])
    @pytest.mark.parametrize("shared", [True, False])
    def test_gradients_are_bitwise_those_without(self, reentrant, addressed, shared):
        results = []
        for checkpointed in (None, reentrant):
            model = make(checkpointed=checkpointed, shared=shared)
            if addressed:
                api.address(model, 5)
            else:
                thinned.convert(model)
            torch.manual_seed(9)
            x = X.clone().requires_grad_()
            for _ in range(2):  # gradient accumulation
                model(x).square().sum().backward()
            results.append([x.grad, *gradients(model)])
            if addressed:
                assert model.thinned_clock.item() == 2
        same_gradients(results, reentrant and shared)

    @pytest.mark.parametrize("reentrant", [True, False])
    def test_two_forwards_before_one_backward(self, reentrant):
        results = []
        for checkpointed in (None, reentrant):
            model = make(checkpointed=checkpointed)
            api.address(model, 5)
            x = X.clone().requires_grad_()
            (model(x) * model(x + 1)).sum().backward()
            results.append([x.grad, *gradients(model)])
        same_gradients(results, reentrant)

    def test_a_lost_generator_state_is_an_error(self):
        class Careless(nn.Module):
            def __init__(self):
                super().__init__()
                self.block = Block()

            def forward(self, x):
                return checkpoint(self.block, x, use_reentrant=False, preserve_rng_state=False)

        model = Careless()
        api.address(model, 5)
        with pytest.raises(RuntimeError, match="preserve_rng_state=True; block"):
            model(X).sum().backward()

    @pytest.mark.parametrize("reentrant", [True, False])
    def test_a_checkpointed_function_that_is_no_module(self, reentrant):
        class Inline(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(8, 8)

            def part(self, x):
                return self.linear(F.dropout(x, 0.5, self.training)) ** 2

            def forward(self, x):
                return checkpoint(self.part, x, use_reentrant=reentrant)

        torch.manual_seed(0)
        model = Inline()
        report = api.convert(model)
        x = X.clone().requires_grad_()
        torch.manual_seed(3)
        model(x).sum().backward()
        y = X.clone().requires_grad_()
        torch.manual_seed(3)
        model.part(y).sum().backward()  # torch's own dropout, since the recomputation could not be seen
        assert torch.equal(x.grad, y.grad)
        assert "checkpoint a module instead" in report.unconverted[""]


TRAINING = """
    import sys, torch
    from test_addressing import make, X
    import thinned

    def run(model, optimizer, steps):
        losses = []
        for step in steps:
            optimizer.zero_grad()
            loss = model(X + step / 100).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    def fresh():
        model = make()
        thinned.address(model, 11)
        return model, torch.optim.Adam(model.parameters())
"""


def python(code, *args):
    code = textwrap.dedent(TRAINING) + textwrap.dedent(code)
    subprocess.run([sys.executable, "-c", code, *map(str, args)], check=True, timeout=300, cwd=Path(__file__).parent)


def test_a_run_stopped_at_step_50_continues_bit_for_bit(tmp_path):
    python(
        """
        torch.manual_seed(100)
        model, optimizer = fresh()
        losses = run(model, optimizer, range(50))
        torch.save([model.state_dict(), optimizer.state_dict()], sys.argv[1] + "/half")
        losses += run(model, optimizer, range(50, 100))
        torch.save([losses, model.state_dict()], sys.argv[1] + "/whole")
        """,
        tmp_path,
    )
    python(
        """
        torch.manual_seed(200)  # torch's generator has no influence
        model, optimizer = fresh()
        for part, state in zip((model, optimizer), torch.load(sys.argv[1] + "/half")):
            part.load_state_dict(state)
        losses = run(model, optimizer, range(50, 100))
        torch.save([losses, model.state_dict()], sys.argv[1] + "/rest")
        """,
        tmp_path,
    )
    losses, state = torch.load(tmp_path / "whole")
    rest, continued = torch.load(tmp_path / "rest")
    assert rest == losses[50:]
    assert all(torch.equal(continued[name], value) for name, value in state.items())
    assert continued["thinned_clock"].item() == 100


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning", "ignore:The .grad attribute:UserWarning")
class TestCompiled:
    def test_no_recompile_over_100_steps(self):
        """fullgraph: no graph break (torch itself breaks the graph at recurrent modules, so none is here)."""
        model = nn.Sequential(Attentive(), nn.Linear(8, 8), nn.Dropout(0.4))
        api.address(model, 5)
        twin = copy.deepcopy(model)
        torch._dynamo.reset()
        compiled = torch.compile(model, fullgraph=True)
        compiled(X).sum().backward()
        expected = twin(X)
        expected.sum().backward()
        with torch._dynamo.config.patch(error_on_recompile=True):
            for _ in range(100):
                got, expected = compiled(X), twin(X)
                assert torch.equal(got == 0, expected == 0)  # the last site's mask
                torch.testing.assert_close(got, expected)
        assert model.thinned_clock.item() == twin.thinned_clock.item() == 101
        got.sum().backward()
        expected.sum().backward()
        for a, b in zip(gradients(model), gradients(twin), strict=True):
            torch.testing.assert_close(a, b)

    @pytest.mark.slow
    def test_recurrent_with_graph_breaks(self):
        model = make()
        api.address(model, 5)
        twin = copy.deepcopy(model)
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="aot_eager")
        for _ in range(3):
            assert torch.equal(compiled(X) == 0, twin(X) == 0)
        assert model.thinned_clock.item() == 3

    def test_blocks_compiled_one_by_one_share_their_code(self):
        model = nn.Sequential(*(Attentive() for _ in range(12)))
        api.address(model, 5)
        twin = copy.deepcopy(model)
        torch._dynamo.reset()
        for block in model:
            block.compile(backend="aot_eager", fullgraph=True)
        for _ in range(3):
            assert torch.equal(model(X) == 0, twin(X) == 0)

    def test_export_in_training(self):
        model = nn.Sequential(Attentive(), nn.Dropout(0.4))
        api.address(model, 5)
        twin = copy.deepcopy(model)
        program = torch.export.export(model, (X,), strict=False)
        exported = program.module()
        for _ in range(2):
            torch.testing.assert_close(exported(X), twin(X))


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.2, batch_first=True)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        x = self.drop(x + self.drop(self.attention(x, x, x, need_weights=False)[0]))
        return F.dropout(F.relu(x), 0.25, self.training)
