"""What inserted dropout survives, and what refuses it."""

import copy
import io
import pickle

import pytest
import torch
from plain_networks import images, resnet, vgg
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

import thinned

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's older ways to trace


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = vgg()
    thinned.insert_dropout(network, images())
    return network


def drops(function, x=None):
    """Tell whether two training passes with other seeds differ."""
    x = images() if x is None else x
    torch.manual_seed(1)
    first = function(x)
    torch.manual_seed(2)
    return not torch.equal(function(x), first)


def test_a_copy_has_dropout_of_its_own(model):
    copied, x = copy.deepcopy(model), images()
    torch.manual_seed(1)
    expected = model(x)
    torch.manual_seed(1)
    assert torch.equal(copied(x), expected)
    copied[8].input_dropout.p = 0.0
    assert model[8].input_dropout.p == 0.5
    thinned.remove_dropout(model)
    assert drops(copied)
    assert not drops(model)


@pytest.mark.parametrize("way", ["pickle", "torch.save"])
def test_a_whole_model_is_saved_with_its_sites(model, way):
    if way == "pickle":
        loaded = pickle.loads(pickle.dumps(model))
    else:
        file = io.BytesIO()
        torch.save(model, file)
        loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=False)
    assert drops(loaded)
    thinned.remove_dropout(loaded)
    assert not drops(loaded)
    assert not loaded[8]._forward_pre_hooks


def test_torch_compile(model):
    compiled, x = torch.compile(model, backend="aot_eager", fullgraph=True), images()
    assert drops(compiled)
    model.eval()
    assert torch.equal(compiled(x), model(x))


@pytest.mark.parametrize("training", [False, True])
def test_torch_export(model, training):
    x = images()
    program = torch.export.export(model.train(training), (x,))
    functions = [str(node.target) for node in program.graph.nodes]
    assert functions.count("thinned.dropout.default") == 4 * training
    assert drops(program.module(), x) == training
    if not training:
        assert torch.equal(program.module()(x), model(x))


def test_torch_fx_and_jit_trace(model):
    x = images()
    assert drops(torch.fx.symbolic_trace(model))
    model.eval()
    assert torch.equal(torch.fx.symbolic_trace(model)(x), model(x))
    assert torch.equal(torch.jit.trace(model, x)(x), model(x))


def test_torch_func(model):
    state = dict(model.named_parameters()), dict(model.named_buffers())
    assert drops(lambda x: torch.func.functional_call(model, state, (x,)))
    model.eval()
    model[6].train()
    members = torch.func.stack_module_state([model, copy.deepcopy(model)])
    x = images()

    def run(parameters, buffers):
        return torch.func.functional_call(model, (parameters, buffers), (x,))

    outputs = torch.vmap(run, randomness="different")(*members)
    assert not torch.equal(outputs[0], outputs[1])


def test_activation_checkpointing(model):
    x, gradients = images(), []
    for run in (model, lambda x: checkpoint(model, x, use_reentrant=False)):
        torch.manual_seed(3)
        model.zero_grad()
        run(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_a_replica_of_data_parallel_runs_its_own(model):
    """As ``torch.nn.parallel.replicate`` puts replicas together, without its devices."""
    layer = model[8]
    replica = layer._replicate_for_data_parallel()
    replica._modules["input_dropout"] = copy.deepcopy(layer.input_dropout)
    replica.weight, replica.bias = layer.weight.clone(), layer.bias.clone()
    assert drops(replica, torch.ones(4, 16))
    layer.input_dropout.p = 0.0
    assert drops(replica, torch.ones(4, 16))
    assert not drops(layer, torch.ones(4, 16))


def test_averaging_pruning_and_weight_norm(model):
    averaged = AveragedModel(model)
    averaged.update_parameters(model)
    assert drops(averaged.train())
    prune.l1_unstructured(model[8], "weight", 0.3)
    assert drops(model)
    prune.remove(model[8], "weight")
    thinned.remove_dropout(model)
    assert not model[8]._forward_pre_hooks
    parametrizations.weight_norm(model[6])
    assert thinned.insert_dropout(model, images()).layers == ["1.0", "3.0", "6", "8"]
    assert drops(model)


def test_a_frozen_part_in_evaluation_mode_drops_nothing(model):
    model[6].eval()
    hidden = []
    model[6].input_dropout.register_forward_hook(lambda _, args, out: hidden.append((args[0], out)))
    model(images())
    [(before, after)] = hidden
    assert torch.equal(before, after)


def test_hooks_of_the_user_stay():
    model, x = resnet(), images()
    calls = []
    handle = model[5].register_forward_pre_hook(lambda *_: calls.append("before"))
    model[5].register_forward_hook(lambda *_: calls.append("after"))
    thinned.insert_dropout(model, x)
    calls.clear()
    model(x)
    assert calls == ["before", "after"]
    thinned.remove_dropout(model)
    assert list(model[5]._forward_pre_hooks) == [handle.id]
    assert len(model[5]._forward_hooks) == 1


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_torchscript_and_quantisation_raise_until_it_is_removed(model):
    model.eval()
    with pytest.raises(Exception, match="not supported"):
        torch.jit.script(model)
    with pytest.raises(RuntimeError, match=r"call thinned\.remove_dropout before layers are replaced"):
        torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear})(images())
    thinned.remove_dropout(model)
    assert torch.jit.script(model)(images()).shape == (4, 5)
    assert torch.ao.quantization.quantize_dynamic(model, {nn.Linear})(images()).shape == (4, 5)
