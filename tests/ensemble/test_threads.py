"""Predictions in threads: equal, bit for bit, to those made in sequence, and nothing that others use changes."""

import asyncio
import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from ensemble_models import MODELS, ROWS, SEQUENCES, assert_same, encoder_layer, everything, mlp
from torch import nn

import thinned
from thinned import ensemble

THREADS = 8


@pytest.fixture(autouse=True)
def _one_core_each():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def together(tasks: list[Callable[[], object]]) -> list[object]:
    """Run each task in a thread of its own; all start at once."""
    barrier = threading.Barrier(len(tasks))

    def start(task: Callable[[], object]) -> object:
        barrier.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(start, tasks))


def same(first: object, second: object) -> bool:
    if isinstance(first, tuple | list):
        return all(map(same, first, second))
    return torch.equal(first, second)


def tasks_of(model: nn.Module, x: object) -> list[Callable[[], object]]:
    """Uses of one model: samples of several seeds, the weight-scaled prediction, plain passes."""

    def plain() -> torch.Tensor:
        with torch.no_grad():
            output = model(**x) if isinstance(x, dict) else model(x)
        return output["out"] if isinstance(output, dict) else output

    def sampled(seed: int) -> object:
        drawn = ensemble.sample(model, x, 5, seed=seed)
        return drawn.outputs, drawn.mean, drawn.std

    return [
        plain,
        *(lambda s=seed: sampled(s) for seed in range(3)),
        plain,
        *(lambda s=seed: sampled(s) for seed in range(3)),
    ]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("name", MODELS)
def test_one_model_in_eight_threads_gives_what_it_gives_alone(name):
    build, x = MODELS[name]
    model = build().eval()
    expected = [task() for task in tasks_of(model, x)]
    before = everything(model)
    for fresh in (copy.deepcopy(model), model):  # of the first, the sites are not known yet
        results = together(tasks_of(fresh, x))
        assert all(map(same, results, expected))
    assert_same(before, everything(model))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_all_functions_on_one_model_at_once():
    model, x = mlp(hidden=6).eval(), ROWS

    def parameters() -> list[torch.Tensor]:
        return [p.detach() for p in ensemble.subnetwork(model, 3).parameters()]

    def enumerated() -> object:
        every = ensemble.enumerate(model, x, output="logits")
        return every.outputs, every.mean, every.geometric_mean, every.std

    def predicted() -> object:
        prediction = ensemble.predict(model, x, 16, output="logits")
        return prediction.mean, prediction.total, prediction.epistemic

    tasks = [parameters, enumerated, predicted, lambda: ensemble.gap(model, x).gap] * 2
    expected = [task() for task in tasks]
    for _ in range(3):
        assert all(map(same, together(tasks), expected))


def test_a_server_answers_as_if_it_had_one_client():
    model = mlp(hidden=64).eval()
    requests = torch.randn(40, 1, 6)

    def plain(i: int) -> torch.Tensor:
        with torch.no_grad():
            return model(requests[i])

    def uncertain(i: int) -> torch.Tensor:
        return ensemble.predict(model, requests[i], 16, output="logits").total

    def answer(i: int) -> torch.Tensor:
        return plain(i) if i % 2 else uncertain(i)

    expected = list(map(answer, range(40)))

    async def serve() -> list[torch.Tensor]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            return await asyncio.gather(*(loop.run_in_executor(pool, answer, i) for i in range(40)))

    assert all(map(torch.equal, asyncio.run(serve()), expected))
    assert not any(module.training for module in model.modules())


def train(model: nn.Module, x: torch.Tensor, steps: int) -> list[torch.Tensor]:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    losses = []
    model.train()
    for _ in range(steps):
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return [*losses, *(value.clone() for value in model.state_dict().values())]


def normed() -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    thinned.address(model, seed=5)
    return model


def test_a_model_trains_beside_samples_of_itself_and_of_others():
    expected = train(normed(), ROWS, 60)
    model, other = normed(), mlp().eval()
    alone = ensemble.sample(other, ROWS, 8).outputs
    stop = threading.Event()

    def of_itself() -> list[torch.Tensor]:
        outputs = []
        while not stop.is_set():
            outputs.append(ensemble.sample(model, ROWS, 3).outputs)
        return outputs

    def of_another() -> list[torch.Tensor]:
        outputs = []
        while not stop.is_set():
            outputs.append(ensemble.sample(copy.deepcopy(other), ROWS, 8).outputs)
        return outputs

    def training() -> list[torch.Tensor]:
        try:
            return train(model, ROWS, 60)
        finally:
            stop.set()

    trained, own, others = together([training, of_itself, of_another])
    assert same(trained, expected)
    assert all(output.isfinite().all() for output in own)
    assert all(torch.equal(output, alone) for output in others)


def test_masks_that_another_thread_draws_do_not_repeat():
    """65,536 elements a mask: two equal ones are impossible unless the generator was rewound."""
    stop = threading.Event()

    def sampled() -> None:
        while not stop.is_set():
            ensemble.sample(mlp(), ROWS, 4)  # a new model each time, whose sites must be found

    thread = threading.Thread(target=sampled)
    thread.start()
    ones = torch.ones(65_536)
    masks = {F.dropout(ones, 0.5).numpy().tobytes() for _ in range(300)}
    stop.set()
    thread.join()
    assert len(masks) == 300


class Noisy(nn.Module):
    """Draws random numbers of its own, also in evaluation."""

    def __init__(self):
        super().__init__()
        self.drop, self.line = nn.Dropout(0.5), nn.Linear(6, 3)

    def forward(self, x):
        x = self.drop(x) + torch.randn(6)
        if torch.__version__ >= "2.9":  # before, what ends on _like takes no generator
            x = x + torch.rand_like(x)
        return self.line(x * torch.bernoulli(torch.full((6,), 0.9)))


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # of torch, which has no batching rule
def test_noise_of_a_model_leaves_the_default_generator_alone():
    model = Noisy().eval()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = ensemble.sample(model, ROWS, 4).outputs
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(ensemble.sample(model, ROWS, 4).outputs, first)
    torch.manual_seed(4)
    assert not torch.equal(ensemble.sample(model, ROWS, 4).outputs, first)


def test_shallow_copies_are_models_like_any_other():
    model = encoder_layer(batch_first=True).eval()
    expected = ensemble.sample(model, SEQUENCES, 4).outputs
    models = [model, *(copy.copy(model) for _ in range(7))]
    results = together([lambda m=m: ensemble.sample(m, SEQUENCES, 4).outputs for m in models])
    assert all(torch.equal(result, expected) for result in results)


def test_an_error_in_one_thread_disturbs_no_other():
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            x = self.drop(x)
            if len(x) == 3:
                raise KeyError("three rows")
            return x

    model = Failing().eval()
    expected = ensemble.sample(model, ROWS, 4).outputs

    def failing() -> torch.Tensor:
        with pytest.raises(KeyError, match="three rows"):
            ensemble.sample(model, ROWS[:3], 4)
        return expected

    results = together([failing, lambda: ensemble.sample(model, ROWS, 4).outputs] * 4)
    assert all(torch.equal(result, expected) for result in results)
    assert not model.training
