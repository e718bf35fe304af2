"""A training run in one process or in several, importable by name: a spawned process must find it."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

import thinned
from thinned.conversion import api

STEPS, BATCH = 5, 8


class Net(nn.Module):
    """Modules, functions, attention (in both forms), recurrence and what is not computed, the batch always first."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.drop = nn.Dropout(0.3)
        self.channels = nn.Dropout1d(0.3)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.2, batch_first=True)
        self.rnn = nn.LSTM(8, 8, 2, dropout=0.4, batch_first=True)
        self.depth = thinned.StochasticDepth(nn.Linear(8, 8), 0.7)  # which keeps no sample now and then
        self.units = thinned.LayerDrop(thinned.ThinnedFeedForward(8, 12, 0.5), 0.5)
        self.heads = thinned.ThinnedAttention(8, 2, 0.6, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = self.drop(F.relu(self.first(x)))
        x = self.channels(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = x + self.attention(x, x, x)[0]
        x = self.drop(self.rnn(x)[0])
        x = self.units(self.depth(x))
        x = x + self.heads(x, x, x, need_weights=False)[0]
        return self.last(F.dropout(x, 0.2, self.training))


def make():
    torch.manual_seed(0)
    return Net()


def train(model, x, y, parameters):
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x + step), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def data():
    return torch.linspace(-1, 1, BATCH * 5 * 6).reshape(BATCH, 5, 6), torch.linspace(0, 1, BATCH * 5 * 3).reshape(
        BATCH, 5, 3
    )


def worker(rank, world, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    model = make()
    api.address(model, 7, parts={0: (rank, world)})
    parallel = nn.parallel.DistributedDataParallel(model)
    x, y = (value.chunk(world)[rank] for value in data())
    losses = train(parallel, x, y, parallel.parameters())
    dist.all_reduce(losses)
    if rank == 0:
        torch.save([losses / world, model.state_dict()], f"{folder}/result")
    dist.destroy_process_group()
