"""Processes that share the work drop what one process would."""

import copy

import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from parallel_training import STEPS, data, make, train, worker
from torch import nn

from thinned import layers, masks, philox
from thinned.conversion import api


def test_two_processes_with_half_the_batch_each_train_as_one(tmp_path):
    model = make()
    api.address(model, 7)
    expected = train(model, *data(), model.parameters())
    mp.spawn(worker, args=(2, str(tmp_path)), nprocs=2)
    losses, state = torch.load(tmp_path / "result")
    torch.testing.assert_close(losses, expected)
    assert state["thinned_clock"].item() == STEPS
    for name, value in model.state_dict().items():
        torch.testing.assert_close(state[name], value)


class Recorded(nn.Module):
    """Every dropped tensor of one pass over ones."""

    def __init__(self):
        super().__init__()
        self.drops = nn.ModuleList(
            [nn.Dropout(0.5), nn.Dropout1d(0.5), nn.AlphaDropout(0.5), layers.BatchDropout(0.5), layers.DropPath(0.5)]
        )
        self.drops.append(layers.LockedDropout(0.5, time_dim=1))

    def forward(self, x):
        return torch.stack([drop(x) for drop in self.drops] + [F.dropout(x), F.feature_alpha_dropout(x, 0.5, True)], 1)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_parts_of_a_batch_make_up_the_whole_bitwise(world):
    whole = Recorded()
    parts = [copy.deepcopy(whole) for _ in range(world)]
    api.address(whole, 7)
    for rank, part in enumerate(parts):
        api.address(part, 7, parts={0: (rank, world)})
    x = torch.linspace(1, 2, 8 * 3 * 5).reshape(8, 3, 5)
    for _ in range(2):
        got = torch.cat([part(chunk) for part, chunk in zip(parts, x.chunk(world), strict=True)])
        assert torch.equal(got, whole(x))


class FeedForward(nn.Module):
    """A column-parallel layer and dropout of its features."""

    def __init__(self, width):
        super().__init__()
        self.up, self.drop, self.down = nn.Linear(4, width), nn.Dropout(0.5), nn.Linear(width, 4, bias=False)
        self.out = nn.Dropout(0.5)

    def forward(self, x):
        return self.down(self.drop(torch.relu(self.up(x))))


class TensorParallel(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mlp = FeedForward(width)
        self.out = nn.Dropout(0.5)

    def forward(self, x):
        return self.mlp(x)


def test_features_split_over_two_processes():
    """Forward and backward: the sum of the partial outputs is the whole's, and so are the slices of the gradient."""
    torch.manual_seed(0)
    whole = TensorParallel(6).double()
    api.address(whole, 7)
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    expected = whole(x)
    expected.sum().backward()
    total = torch.zeros_like(expected)
    for rank in range(2):
        part = TensorParallel(3).double()
        mine = slice(3 * rank, 3 * rank + 3)
        with torch.no_grad():
            part.mlp.up.weight.copy_(whole.mlp.up.weight[mine])
            part.mlp.up.bias.copy_(whole.mlp.up.bias[mine])
            part.mlp.down.weight.copy_(whole.mlp.down.weight[:, mine])
        api.address(part, 7, parts=lambda name, rank=rank: {-1: (rank, 2)} if name == "mlp.drop" else {})
        out = part(x)
        out.sum().backward()
        total += out.detach()
        torch.testing.assert_close(part.mlp.up.weight.grad, whole.mlp.up.weight.grad[mine])
    torch.testing.assert_close(total, expected.detach())


def test_a_part_is_the_slice_of_the_mask():
    model = nn.Sequential(nn.Dropout(0.5))
    api.address(model, 3, parts={0: (1, 2), -1: (2, 3)})
    got = model(torch.ones(4, 5)) != 0
    mask = masks.keep_mask((8, 15), 0.5, philox.fold_in(3, philox.site_number("0")))
    assert torch.equal(got, mask[4:, 10:])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # inside torch itself
def test_compiled_parts_across_a_break_of_the_graph():
    """torch.compile ends the graph of a branch that leaves samples out at their number."""
    model = nn.Sequential(nn.Linear(5, 5), layers.StochasticDepth(nn.Linear(5, 5), 0.5), nn.Dropout(0.5))
    api.address(model, 3, parts={0: (1, 2)})
    twin = copy.deepcopy(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager")
    for _ in range(3):
        torch.testing.assert_close(compiled(torch.ones(8, 5)), twin(torch.ones(8, 5)))


def test_compiled_parts():
    model = nn.Sequential(nn.Linear(5, 5), nn.Dropout(0.5))
    api.address(model, 3, parts={0: (1, 2)})
    twin = copy.deepcopy(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        assert torch.equal(compiled(torch.ones(4, 5)), twin(torch.ones(4, 5)))


def test_errors():
    with pytest.raises(ValueError, match=r"0 <= part < count; got \(2, 2\) for axis 0"):
        api.address(nn.Dropout(0.5), 1, parts={0: (2, 2)})
    model = nn.Sequential(nn.Dropout(0.5))
    api.address(model, 1, parts={3: (0, 2)})
    with pytest.raises(IndexError, match=r"must lie in \[-2, 1\] here; got 3"):
        model(torch.ones(2, 2))
