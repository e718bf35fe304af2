"""Models in several threads give what they give alone."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import thinned
from thinned.tracing import sites

THREADS, STEPS = 8, 6


class Rerouted(nn.Module):
    """Every kind of site that torch's functions hold, attention in both of its forms, and a checkpointed block."""

    def __init__(self, use_reentrant=None):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.3, batch_first=True)
        self.rnn = nn.GRU(8, 8, 2, dropout=0.3, batch_first=True)
        self.drop = nn.Dropout(0.3)
        self.use_reentrant = use_reentrant

    def block(self, x):
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        x = x + F.scaled_dot_product_attention(q, k, v, dropout_p=0.3 * self.training).transpose(1, 2).flatten(-2)
        return self.drop(x + self.attention(x, x, x)[0])

    def forward(self, x):
        x = F.dropout(x, 0.3, self.training)
        run = (
            self.block
            if self.use_reentrant is None
            else partial(checkpoint, self.block, use_reentrant=self.use_reentrant)
        )
        x = run(x)
        return F.dropout(self.rnn(x)[0], 0.3, self.training)


def make(number, **options):
    torch.manual_seed(number)
    model = Rerouted(**options)
    thinned.address(model, number)
    return model


def inputs(number):
    generator = torch.Generator().manual_seed(number)
    return [torch.randn(2 + number % 3, 5, 8, generator=generator, requires_grad=True) for _ in range(STEPS)]


def outputs_and_gradients(model, xs, barrier=None):
    results = []
    for x in xs:
        if barrier is not None:
            barrier.wait()
        out = model(x)
        out.square().sum().backward()
        results += [out.detach(), x.grad.clone()]
    return results


def in_threads(run):
    """``run`` of 0, 1, … in as many threads, which meet at a barrier before every step."""
    barrier = threading.Barrier(THREADS, timeout=60)
    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result() for future in [pool.submit(run, number, barrier) for number in range(THREADS)]]


def equal(left, right):
    return len(left) == len(right) and all(map(torch.equal, left, right))


@pytest.mark.parametrize("use_reentrant", [None, True, False])
def test_models_of_their_own(use_reentrant):
    alone = [outputs_and_gradients(make(n, use_reentrant=use_reentrant), inputs(n)) for n in range(THREADS)]
    models = [make(n, use_reentrant=use_reentrant) for n in range(THREADS)]
    together = in_threads(lambda n, barrier: outputs_and_gradients(models[n], inputs(n), barrier))
    assert all(map(equal, together, alone))


def test_checkpointed_gradients_are_those_without():
    plain, reentrant, other = (outputs_and_gradients(make(3, use_reentrant=u), inputs(3)) for u in (None, True, False))
    assert equal(reentrant, plain)
    assert equal(other, plain)


def test_one_model_in_training():
    """Each pass has a number of its own: the results are those of as many passes one after the other."""
    x = inputs(0)[0].detach()
    twin, model = make(1), make(1)
    alone = {twin(x).detach().numpy().tobytes() for _ in range(THREADS * STEPS)}

    def run(_, barrier):
        results = []
        for _ in range(STEPS):
            barrier.wait()
            results.append(model(x).detach().numpy().tobytes())
        return results

    together = [result for results in in_threads(run) for result in results]
    assert len(set(together)) == THREADS * STEPS
    assert set(together) == alone
    assert model.thinned_clock.item() == THREADS * STEPS


def test_one_model_in_evaluation_while_others_train():
    served, x = make(1).eval(), inputs(0)[0].detach()
    expected = served(x)
    trained = [make(n) for n in range(THREADS)]

    def run(number, barrier):
        if number % 2:
            return outputs_and_gradients(trained[number], inputs(number), barrier)
        results = []
        for _ in range(STEPS):
            barrier.wait()
            results.append(served(x))
        return results

    together = in_threads(run)
    assert all(torch.equal(out, expected) for results in together[::2] for out in results)
    alone = [outputs_and_gradients(make(n), inputs(n)) for n in range(1, THREADS, 2)]
    assert all(map(equal, together[1::2], alone))


def test_recorded_passes_leave_other_threads_alone():
    models = [make(n) for n in range(THREADS)]
    alone = [outputs_and_gradients(make(n), inputs(n)) for n in range(THREADS)]
    recorded = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Dropout(0.25))
    names = [site.name for site in sites.find(recorded, torch.ones(2, 8))]

    def run(number, barrier):
        if number % 2:
            return outputs_and_gradients(models[number], inputs(number), barrier)
        found = []
        for _ in range(STEPS):
            barrier.wait()
            found += [[site.name for site in sites.find(copy.deepcopy(recorded), torch.ones(2, 8))] for _ in range(3)]
        return found

    together = in_threads(run)
    assert all(found == names for results in together[::2] for found in results)
    assert all(map(equal, together[1::2], alone[1::2]))


def test_a_converted_model_draws_a_mask_a_pass():
    """Without addresses, threads share torch's generator: no mask is drawn twice."""
    model = nn.Sequential(nn.Identity(), Rerouted())
    thinned.convert(model)
    x = torch.ones(2, 5, 8)

    def run(_, barrier):
        results = []
        for _ in range(STEPS):
            barrier.wait()
            results.append(model(x).detach().numpy().tobytes())
        return results

    together = [result for results in in_threads(run) for result in results]
    assert len(set(together)) == THREADS * STEPS
