"""Blocks of timm, torchvision and transformers that skip dropped samples, against the same blocks masked."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from layer_cases import KEY
from torch import nn

import thinned
from thinned.conversion.skipping.block_class import skip
from thinned.errors import InputError
from thinned.layers import DropPath

IMAGE = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def timm_vit() -> nn.Module:
    timm = pytest.importorskip("timm")
    vit = timm.models.vision_transformer.VisionTransformer
    return vit(32, 8, embed_dim=24, depth=3, num_heads=2, num_classes=3, drop_path_rate=0.5, init_values=0.5)


def timm_convnext() -> nn.Module:
    timm = pytest.importorskip("timm")
    return timm.models.convnext.ConvNeXt(
        depths=(1, 2, 1, 1), dims=(8, 8, 12, 12), num_classes=3, drop_path_rate=0.5, ls_init_value=0.5
    )


def vision_convnext() -> nn.Module:
    models = pytest.importorskip("torchvision.models.convnext")
    stages = [models.CNBlockConfig(8, 12, 2), models.CNBlockConfig(12, None, 1)]
    return models.ConvNeXt(stages, stochastic_depth_prob=0.5, layer_scale=0.5, num_classes=3)


def vision_swin(version: str = "") -> nn.Module:
    models = pytest.importorskip("torchvision.models.swin_transformer")
    options = {"block": models.SwinTransformerBlockV2, "downsample_layer": models.PatchMergingV2} if version else {}
    return models.SwinTransformer(
        [2, 2], 12, [2, 2], [2, 3], [4, 4], stochastic_depth_prob=0.5, num_classes=3, **options
    )


def hub_convnext() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.ConvNextConfig(
        hidden_sizes=[8, 12], depths=[1, 2], num_stages=2, drop_path_rate=0.5, layer_scale_init_value=0.5
    )
    return transformers.ConvNextModel(config)


def _hub_vit(name: str, **options: object) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{name}Config")(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        drop_path_rate=0.5,
        **options,
    )
    return getattr(transformers, f"{name}Model")(config)


#: name -> how to build the model, and how many of its blocks skip (those whose rate is 0 have nothing to skip)
MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "timm ViT": (timm_vit, 2),
    "timm ConvNeXt": (timm_convnext, 4),
    "torchvision ConvNeXt": (vision_convnext, 3),
    "torchvision Swin": (vision_swin, 4),
    "torchvision Swin V2": (lambda: vision_swin("V2"), 4),
    "transformers ConvNeXt": (hub_convnext, 2),
    "transformers BEiT": (
        lambda: _hub_vit("Beit", intermediate_size=32, hidden_dropout_prob=0.0, layer_scale_init_value=0.5),
        2,
    ),
    "transformers DINOv2": (lambda: _hub_vit("Dinov2", layerscale_value=0.5), 3),
}


def output(model: nn.Module) -> torch.Tensor:
    out = model(IMAGE)
    return out if isinstance(out, torch.Tensor) else out.last_hidden_state


def with_our_drop_paths(model: nn.Module) -> nn.Module:
    """The masked model, each drop path in its place, with the rates and names of the skipping one."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__.endswith(("DropPath", "StochasticDepth")):
                rate = getattr(child, "drop_prob", None)
                setattr(module, name, DropPath(child.p if rate is None else rate))
    return model


@pytest.mark.parametrize("name", MODELS)
def test_skipped_equals_masked(name: str) -> None:
    """Over several calls, forward and backward, in float64, to 1e-9: sums of hundreds of terms near 1."""
    build, number = MODELS[name]
    torch.manual_seed(0)
    ours = build().double().train()
    theirs = with_our_drop_paths(copy.deepcopy(ours))
    keys, plain = list(ours.state_dict()), copy.deepcopy(ours).eval()
    report = thinned.skip_dropped(ours, (IMAGE,))
    assert len(report.skipped) == number, report
    assert all("computes something else" not in reason for reason in report.masked.values()), report
    assert list(ours.state_dict()) == keys
    assert torch.equal(output(ours.eval()), output(plain))
    for model in (ours, theirs):
        thinned.address(model.train(), seed=3)
    rows = []
    for block in report.skipped:
        part = next(m for m in ours.get_submodule(block.name).modules() if isinstance(m, (nn.LayerNorm, nn.Conv2d)))
        part.register_forward_hook(lambda _, x, __: rows.append(len(x[0])))
    for _ in range(3):
        mine, other = output(ours), output(theirs)
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
        grads = [
            torch.autograd.grad(out.square().sum(), list(model.parameters()), allow_unused=True)
            for model, out in ((ours, mine), (theirs, other))
        ]
        torch.testing.assert_close(*grads, rtol=1e-8, atol=1e-8)
    assert min(rows) < len(IMAGE)


class Block(nn.Module):
    """The parts of torchvision's ``CNBlock``."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.layer_scale = nn.Linear(4, 4), nn.Parameter(torch.ones(4))
        self.stochastic_depth = thinned.DropPath(0.3)


def same_sum(self: Block, x: torch.Tensor) -> torch.Tensor:
    return x + self.stochastic_depth(self.layer_scale * self.block(x))


def other_sum(self: Block, x: torch.Tensor) -> torch.Tensor:
    return 0.9 * x + self.stochastic_depth(self.layer_scale * self.block(x))


#: blocks of our own by the name of a library's, which need not be installed
Same, Changed = (
    type("CNBlock", (Block,), {"forward": forward, "__module__": "torchvision.models.convnext"})
    for forward in (same_sum, other_sum)
)


def test_a_changed_version_is_refused() -> None:
    model = nn.Sequential(Same(), Changed(), nn.Sequential(thinned.DropPath(0.5)))
    report = thinned.skip_dropped(model, torch.randn(5, 4))
    assert [block.name for block in report.skipped] == ["0"]
    assert report.masked == {
        "1": "this version of CNBlock computes something else than the adapter",
        "2.0": "no adapter for the block of this DropPath",
    }
    assert repr(report).splitlines()[:2] == [
        "1 residual blocks skip dropped samples, 2 modules mask",
        "  0: CNBlock, p = 0.3",
    ]


def test_a_block_that_is_called_by_keyword_still_runs() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Same()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.block(x=x)  # type: ignore[no-any-return]

    model, x = Named(), torch.randn(5, 4)
    assert [block.name for block in thinned.skip_dropped(model, x).skipped] == ["block"]
    assert model.train()(x).shape == x.shape
    assert torch.equal(model.eval()(x), x + model.block.layer_scale * model.block.block(x))


def test_blocks_that_can_not_skip_say_why() -> None:
    without, norm, batch, hooked = Same(), Same(), Same(), Same()
    without.stochastic_depth = nn.Identity()
    norm.block = nn.BatchNorm1d(4)
    batch.stochastic_depth.mode = "batch"
    hooked.stochastic_depth.register_forward_hook(lambda *_: None)
    report = thinned.skip_dropped(nn.Sequential(without, norm, batch, hooked), torch.randn(5, 4))
    assert list(report.masked.values()) == [
        "it drops nothing",
        "a batch norm in it computes statistics of the batch",
        "it drops the whole batch as one",
        "its drop path has hooks",
    ]
    other = type("CNBlock", (nn.Linear,), {"__module__": "torchvision.models.convnext"})
    report = thinned.skip_dropped(nn.Sequential(other(4, 4)), torch.randn(5, 4))
    assert report.masked == {"0": "this version of CNBlock has no stochastic_depth"}


def test_copies_and_empty_selections() -> None:
    model = nn.Sequential(Same())
    thinned.skip_dropped(model, torch.randn(5, 4))
    twin, x = copy.deepcopy(model), torch.randn(5, 4, requires_grad=True)
    twin[0].stochastic_depth.drop_prob = 1.0
    twin(x).sum().backward()
    assert all((p.grad == 0).all() for p in twin.parameters())
    assert torch.equal(x.grad, torch.ones_like(x))
    assert all(p.grad is None for p in model.parameters())
    for other in (model, twin):
        for site in thinned.layers.base.dropout_layers(other).values():
            site.key, site.drop_prob = torch.tensor(KEY), 0.3
    assert torch.equal(model(x), twin(x))


def test_a_pickled_block_still_skips() -> None:
    transformers = pytest.importorskip("transformers")
    layer = transformers.models.convnext.modeling_convnext.ConvNextLayer(transformers.ConvNextConfig(), 8, 0.5)
    skip(layer)
    loaded = pickle.loads(pickle.dumps(layer))
    assert type(loaded) is type(layer)
    assert type(loaded).__name__ == "ConvNextLayer"


def test_addressed_models_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), thinned.DropPath(0.3))
    thinned.address(model, 1)
    with pytest.raises(InputError, match=r"before thinned\.address, convert and torch\.compile; got a model that was"):
        thinned.skip_dropped(model, torch.ones(2, 2))
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        thinned.skip_dropped(1, torch.ones(2, 2))
