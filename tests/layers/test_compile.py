"""Layers under torch.compile, torch.export, torch.func, tracing, ONNX and activation checkpointing."""

import copy
import io

import pytest
import torch
from bitwise import same_bits
from layer_cases import EVERY, KEY, P, address, first
from torch import nn
from torch.utils.checkpoint import checkpoint

import thinned
from thinned import layers, schedules

every = pytest.mark.parametrize("name", EVERY)
# deprecations inside torch itself
quiet = pytest.mark.filterwarnings(
    "ignore:.*is deprecated:DeprecationWarning",
    "ignore:.*is deprecated:FutureWarning",
    "ignore::torch.jit.TracerWarning",  # the checks of shapes
)
FAST = ["Dropout", "GaussianDropout", "MultiheadAttention-weights"]  # a compilation takes seconds


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch.compiler.reset()


def count_graphs() -> tuple[list[int], object]:
    """A backend that counts what it compiles, and runs it as it is."""
    graphs: list[int] = []

    def backend(module: torch.fx.GraphModule, _: object) -> object:
        graphs.append(len(graphs))
        return module.forward

    return graphs, backend


@every
def test_compiled_masks_equal_eager_over_100_steps_of_the_clock(name: str) -> None:
    build, inputs = EVERY[name]
    layer, x = address(build()), inputs()
    site = next(m for m in layer.modules() if isinstance(m, layers.Addressed))
    site.rate = torch.tensor(P, dtype=torch.float64)
    graphs, backend = count_graphs()
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    for step in range(100):
        site.call.fill_(step)
        if step == 50:
            site.rate.fill_(0.7)  # a schedule at work
        assert torch.equal(first(compiled(*x)), first(layer(*x)))
    assert len(graphs) == 1


@quiet
@pytest.mark.parametrize("name", FAST)
def test_inductor_has_the_masks_and_gradients_of_eager(name: str) -> None:
    build, inputs = EVERY[name]
    layer, x = address(build()), tuple(v.requires_grad_() for v in inputs())
    compiled = torch.compile(layer, fullgraph=True)
    ours, theirs = first(compiled(*x)), first(layer(*x))
    assert torch.allclose(ours, theirs, atol=1e-5)
    if name != "ConcreteDropout":
        assert torch.equal(ours == 0, theirs == 0)
    for a, b in zip(torch.autograd.grad(ours.sum(), x), torch.autograd.grad(theirs.sum(), x), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@every
def test_drawn_keys_under_compile(name: str) -> None:
    """No graph break; the global seed decides, and a new call draws anew."""
    build, inputs = EVERY[name]
    layer, x = build(), inputs()
    graphs, backend = count_graphs()
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(first(compiled(*x)))
    torch.manual_seed(1)
    assert torch.equal(outs[0], first(layer(*x)))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
    assert len(graphs) == 1


@pytest.mark.parametrize(
    "name", ["Dropout", "Dropout1d", "LockedDropout", "DropPath", "AlphaDropout", "GaussianDropout"]
)
def test_dynamic_shapes(name: str) -> None:
    build, inputs = EVERY[name]
    layer, (x,) = address(build()), inputs()
    graphs, backend = count_graphs()
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=backend)
    for rows in (len(x), len(x) - 1, len(x) - 2):
        part = x[:rows].clone()
        assert torch.equal(compiled(part), layer(part))
    assert len(graphs) == 1


@every
@pytest.mark.parametrize("training", [True, False])
def test_export(name: str, training: bool) -> None:
    build, inputs = EVERY[name]
    layer, x = address(build()).train(training), inputs()
    program = torch.export.export(layer, x, strict=False)
    compare = torch.testing.assert_close if name.startswith(("Multihead", "drop_connect")) else same_bits
    compare(first(program.module()(*x)), first(layer(*x)))  # matrix products may be ordered otherwise in a graph


@every
def test_vmap_over_members(name: str) -> None:
    """Each member has the mask of its own key, whatever the others have."""
    build, inputs = EVERY[name]
    layer, x = address(build()), inputs()
    where = next(n for n, m in layer.named_modules() if isinstance(m, layers.Addressed))
    prefix = f"{where}." if where else ""
    keys = torch.tensor([5, 6, 7])

    def member(key: torch.Tensor) -> torch.Tensor:
        return first(torch.func.functional_call(layer, {f"{prefix}key": key}, x))

    outs = torch.func.vmap(member)(keys)
    for out, key in zip(outs, keys, strict=True):
        assert torch.allclose(out, member(key), atol=1e-6)
        if not name.startswith(("Multihead", "drop_connect")):
            assert torch.equal(out == 0, member(key) == 0)


@quiet
@every
def test_trace_in_evaluation(name: str) -> None:
    build, inputs = EVERY[name]
    layer, x = build().eval(), inputs()
    traced = torch.jit.trace(layer, x)
    torch.testing.assert_close(first(traced(*x)), first(layer(*x)))  # its matrix products may be ordered otherwise


class SideBySide(nn.Module):
    """Every layer with inputs of its own: one export serves for all."""

    def __init__(self, layers: list[nn.Module], inputs: list[int]) -> None:
        super().__init__()
        self.layers, self.inputs = nn.ModuleList(layers), inputs

    def forward(self, *x: torch.Tensor) -> list[torch.Tensor]:
        at = iter(x)
        return [first(layer(*(next(at) for _ in range(n)))) for layer, n in zip(self.layers, self.inputs, strict=True)]


@quiet
def test_onnx_in_evaluation() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    layers, inputs = [build().eval() for build, _ in EVERY.values()], [inputs() for _, inputs in EVERY.values()]
    model = SideBySide(layers, list(map(len, inputs))).eval()
    x = tuple(value for each in inputs for value in each)
    file = io.BytesIO()
    torch.onnx.export(model, x, dynamo=True, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    feed = {node.name: value.numpy() for node, value in zip(session.get_inputs(), x, strict=True)}
    for name, found, expected in zip(EVERY, session.run(None, feed), model(*x), strict=True):
        assert torch.allclose(torch.from_numpy(found), expected, atol=1e-5), name


class Block(nn.Module):
    """A transformer-like block with a dropout of each kind that it can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = thinned.MultiheadAttention(8, 2, dropout=P, batch_first=True)
        self.add = thinned.DropoutAdd(P)
        self.hidden = nn.Sequential(nn.Linear(8, 16), nn.GELU(), thinned.Dropout(P), nn.Linear(16, 8))
        self.path = thinned.DropPath(P)
        thinned.drop_connect(self.hidden[3], p=P)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.add(self.attention(x, x, x, need_weights=False)[0], x)
        return x + self.path(self.hidden(x))


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("addressed", [True, False])
def test_checkpointing_changes_no_gradient(reentrant: bool, addressed: bool) -> None:
    model = nn.Sequential(Block(), Block())
    if addressed:
        for number, block in enumerate(model):
            address(block, KEY + number)
    grads = []
    for wrapped in (False, True):
        model.zero_grad()
        x = torch.linspace(-1, 1, 120).view(3, 5, 8).requires_grad_()
        torch.manual_seed(0)
        out = x
        for block in model:
            out = checkpoint(block, out, use_reentrant=reentrant) if wrapped else block(out)
        out.square().sum().backward()
        grads.append([x.grad, *(p.grad.clone() for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_a_compiled_model_follows_a_schedule_without_recompiling() -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), address(thinned.Dropout(0.5)), nn.Linear(32, 2))
    scheduler = schedules.RateScheduler(model, schedules.cosine(0.8, 0.0, steps=90))
    eager = copy.deepcopy(model)
    follower = schedules.RateScheduler(eager, schedules.cosine(0.8, 0.0, steps=90))
    graphs, backend = count_graphs()
    compiled, x = torch.compile(model, fullgraph=True, backend=backend), torch.randn(4, 8)
    for _ in range(100):
        assert torch.equal(compiled(x), eager(x))
        scheduler.step()
        follower.step()
    assert len(graphs) == 1
    assert torch.equal(model(x), model.eval()(x))
