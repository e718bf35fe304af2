"""Attention whose dropped heads are not computed, against all heads with the mask applied."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from layer_cases import CALL, KEY, address
from torch import nn
from torch.utils.checkpoint import checkpoint

import thinned
from thinned import functional, masks, philox
from thinned.conversion import api

HEADS, SIZE = 5, 3
WIDTH = HEADS * SIZE
MASK = torch.ones(4, 4, dtype=torch.bool).triu(1)
PADDING = torch.tensor([[False, False, False, True], [False] * 4])


def tensors(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    made = [torch.randn(2, HEADS, 4, SIZE, generator=generator, dtype=torch.float64) for _ in range(3)]
    return [x.to(dtype).requires_grad_() for x in made]


def kept_heads(p: float, call: int = CALL) -> torch.Tensor:
    return masks.keep_mask((HEADS,), p, KEY, call)


def some_call(p: float, kept: Callable[[int], bool]) -> int:
    return next(call for call in range(10_000) if kept(int(kept_heads(p, call).sum())))


# --- masked ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_kept_heads_are_scaled_by_their_share(dtype: torch.dtype) -> None:
    x = tensors(dtype)[0]
    call = some_call(0.4, lambda n: n == 3)
    out = functional.drop_head(x, 0.4, key=KEY, call=call)
    keep = kept_heads(0.4, call)
    wide = x if dtype is torch.float64 else x.float()
    assert out.dtype == dtype
    assert (out[:, ~keep] == 0).all()
    assert torch.equal(out[:, keep], (wide[:, keep] * (HEADS / 3)).to(dtype))


def test_the_mean_over_masks_is_all_heads_where_one_is_kept() -> None:
    """Exact by symmetry over all masks: the mean of heads / kept over the masks that keep a given head is 1 / P(kept).

    4000 masks of 4 heads, p = 0.5: the factor of a head given that one is kept has a standard deviation of 1.2, and a
    mean of 1; 5 standard errors of the mean are 0.095, with a false-fail rate of 6e-7 for each of 4 heads.
    """
    factors = torch.stack(
        [functional.drop_head(torch.ones(4, 1, 1), 0.5, key=KEY, call=n).flatten() for n in range(4000)]
    )
    some = factors[factors.sum(1) > 0]
    assert ((some.mean(0) - 1).abs() < 5 * some.std(0) / len(some) ** 0.5).all()
    assert (some.sum(1) - 4).abs().max() < 1e-5
    assert len(some) < 4000


# --- given queries, keys and values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("mask", [None, MASK, torch.arange(2.0 * HEADS * 16).view(2, HEADS, 4, 4).double().sin()])
def test_equals_masked_attention_forward_and_backward(p: float, mask: torch.Tensor | None) -> None:
    """In float64, to 1e-13: the same products of the same numbers."""
    x = tensors()
    options = {"attn_mask": None if mask is None or mask.is_floating_point() else ~mask}
    if mask is not None and mask.is_floating_point():
        options = {"attn_mask": mask}
    for call in (CALL, CALL + 1):
        ours = functional.drop_head_attention(*x, p=p, dropout_key=KEY, dropout_call=call, **options)
        theirs = functional.drop_head(F.scaled_dot_product_attention(*x, **options), p, key=KEY, call=call)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
        grads = [torch.autograd.grad(out.square().sum(), x) for out in (ours, theirs)]
        torch.testing.assert_close(*grads, rtol=0, atol=1e-12)
        assert torch.equal(ours.detach().abs().sum((0, 2, 3)) > 0, kept_heads(p, call))
        assert torch.equal(grads[0][0].abs().sum((0, 2, 3)) > 0, kept_heads(p, call))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_heads_are_bitwise_those_of_the_masked_form(dtype: torch.dtype) -> None:
    x = tensors(dtype)
    ours = functional.drop_head_attention(*x, p=0.5, is_causal=True, dropout_key=KEY)
    whole = F.scaled_dot_product_attention(*x, is_causal=True)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, functional.drop_head(whole, 0.5, key=KEY), rtol=2 * torch.finfo(dtype).eps, atol=0)


def test_heads_that_do_not_fit_are_refused() -> None:
    q, k, v = tensors()
    with pytest.raises(RuntimeError, match=r"with the same heads; got \(2, 5, 4, 3\), \(2, 2, 4, 3\)"):
        functional.drop_head_attention(q, k[:, :2], v[:, :2])


def test_members_are_masked() -> None:
    x, keys = [t.detach() for t in tensors()], torch.arange(4)
    outs = torch.func.vmap(lambda key: functional.drop_head_attention(*x, p=0.5, dropout_key=key))(keys)
    for out, key in zip(outs, keys, strict=True):
        expected = functional.drop_head_attention(*x, p=0.5, dropout_key=int(key))
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-13)


# --- the layer -------------------------------------------------------------------------------------------------------


class Masked(nn.Module):
    """Torch's attention written out, with a mask on what the heads give; of self-attention, time first."""

    def __init__(self, p: float) -> None:
        super().__init__()
        whole = nn.MultiheadAttention(WIDTH, HEADS)
        self.in_proj_weight, self.in_proj_bias, self.out_proj = whole.in_proj_weight, whole.in_proj_bias, whole.out_proj
        self.head_dropout = thinned.DropHead(p)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        heads = (part.unflatten(-1, (HEADS, SIZE)).permute(1, 2, 0, 3) for part in parts)
        out = self.head_dropout(F.scaled_dot_product_attention(*heads))
        return self.out_proj(out.permute(2, 0, 1, 3).flatten(2))


def attention(p: float, **options: object) -> thinned.ThinnedAttention:
    torch.manual_seed(0)
    layer = thinned.ThinnedAttention(WIDTH, HEADS, p, **options).double()
    nn.init.normal_(layer.out_proj.bias)
    return layer


def pair(p: float) -> tuple[thinned.ThinnedAttention, Masked]:
    ours, theirs = attention(p), Masked(p).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def inputs(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(4, 2, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def self_attention(layer: nn.Module, x: torch.Tensor, **options: object) -> torch.Tensor:
    return layer(x) if isinstance(layer, Masked) else layer(x, x, x, need_weights=False, **options)[0]


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_equals_the_masked_layer_forward_and_backward(p: float) -> None:
    """In float64, to 1e-12: the same sums of at most 15 terms near 1, some of them zeros in one form."""
    ours, theirs = (address(layer) for layer in pair(p))
    x = inputs().requires_grad_()
    outs = [self_attention(layer, x) for layer in (ours, theirs)]
    torch.testing.assert_close(*outs, rtol=0, atol=1e-12)
    grads = [
        torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])
        for out, layer in zip(outs, (ours, theirs), strict=True)
    ]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)
    dropped = ~kept_heads(p).repeat_interleave(SIZE)
    assert (grads[0][1].view(3, WIDTH, WIDTH)[:, dropped] == 0).all()
    assert (grads[0][3][:, dropped] == 0).all()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_training_is_that_of_the_masked_layer(optimizer: type[torch.optim.Optimizer]) -> None:
    layers = pair(0.8)
    options = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    for layer in layers:
        api.address(layer, 5)
        steps = optimizer(layer.parameters(), lr=0.01, weight_decay=0.1, **options)
        for _ in range(4):
            steps.zero_grad()
            self_attention(layer, inputs()).square().mean().backward()
            steps.step()
    key = philox.fold_in(5, philox.site_number("head_dropout"))
    assert 0 in [int(masks.keep_mask((HEADS,), 0.8, key, call).sum()) for call in range(4)]  # a call that keeps none
    for ours, theirs in zip(*(layer.parameters() for layer in layers), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("options", [{}, {"attn_mask": MASK}, {"attn_mask": MASK, "is_causal": True}], ids=len)
@pytest.mark.parametrize("padding", [False, True])
def test_both_ways_of_the_layer_agree(batch_first: bool, options: dict[str, object], padding: bool) -> None:
    """Kept heads alone, and all heads by torch's code with a factor each, which also gives the weights."""
    layer = address(attention(0.5, batch_first=batch_first))
    options = options | ({"key_padding_mask": PADDING} if padding else {})
    if "attn_mask" not in options:
        per_head = torch.arange(2.0 * HEADS * 16).view(2 * HEADS, 4, 4).cos() > 0
        per_head[..., 0] = False  # seen by all
        options["attn_mask"] = per_head
    x = inputs().transpose(0, 1) if batch_first else inputs()
    for operands in ([x] * 3, [x, x.flip(0), 2 * x]):
        thin, none = layer(*operands, need_weights=False, **options)
        whole, weights = layer(*operands, **options)
        torch.testing.assert_close(thin, whole, rtol=0, atol=1e-12)
        assert none is None
        assert weights.shape == (2, 4, 4)
    single = [operand[0] if batch_first else operand[:, 0] for operand in operands]  # an example without a batch
    if not padding and options["attn_mask"] is MASK:
        thin = layer(*single, need_weights=False, **options)[0]
        torch.testing.assert_close(thin, layer(*single, **options)[0], rtol=0, atol=1e-12)
        assert thin.shape == (4, WIDTH)


def test_state_and_evaluation_are_those_of_torch() -> None:
    ours, theirs = attention(0.5).eval(), nn.MultiheadAttention(WIDTH, HEADS).double().eval()
    assert {name: p.shape for name, p in ours.named_parameters()} == {n: p.shape for n, p in theirs.named_parameters()}
    theirs.load_state_dict(ours.state_dict())
    x = inputs()
    assert all(torch.equal(a, b) for a, b in zip(ours(x, x, x), theirs(x, x, x), strict=True))
    torch.manual_seed(3)
    fresh = thinned.ThinnedAttention(WIDTH, HEADS)
    torch.manual_seed(3)
    assert torch.equal(fresh.in_proj_weight, nn.MultiheadAttention(WIDTH, HEADS).in_proj_weight)


def test_it_stands_in_a_transformer_of_torch() -> None:
    block = nn.TransformerEncoderLayer(WIDTH, HEADS, 8, dropout=0.0, batch_first=True).double()
    block.self_attn = attention(0.5, batch_first=True)
    x = inputs().transpose(0, 1)
    address(block)
    normed = block.norm1(x + block.self_attn(x, x, x)[0])
    hidden = block.linear2(torch.relu(block.linear1(normed)))
    torch.testing.assert_close(block(x), block.norm2(normed + hidden), rtol=0, atol=1e-12)
    with torch.no_grad():
        assert block.eval()(x).shape == x.shape


def test_drawn_masks_are_those_of_the_masked_layer() -> None:
    outs = []
    for layer in pair(0.5):
        torch.manual_seed(3)
        outs.append([self_attention(layer, inputs()) for _ in range(3)])
    torch.testing.assert_close(*outs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("addressed", [True, False])
def test_checkpointing_and_hooks_change_no_gradient(addressed: bool) -> None:
    layer = attention(0.5)
    if addressed:
        thinned.address(layer, 3)
    grads = []
    for way in range(3):
        if addressed:
            layer.thinned_clock.zero_()
        torch.manual_seed(0)
        x = inputs().requires_grad_()
        if way == 2:
            layer.head_dropout.register_forward_hook(lambda *_: None)
        forward = lambda x: self_attention(layer, x)  # noqa: E731
        out = checkpoint(forward, x, use_reentrant=False) if way == 1 else forward(x)
        grads.append(torch.autograd.grad(out.square().sum(), [x, *layer.parameters()]))
    assert all(torch.equal(a, b) for a, b in zip(*grads[:2], strict=True))
    torch.testing.assert_close(grads[0], grads[2], rtol=1e-12, atol=1e-12)


def test_autocast_has_the_types_of_the_masked_layer() -> None:
    ours, theirs = (address(layer).float() for layer in pair(0.5))
    with torch.autocast("cpu", torch.bfloat16):
        outs = [self_attention(layer, inputs(torch.float32)) for layer in (ours, theirs)]
    assert outs[0].dtype == outs[1].dtype == torch.bfloat16
    # both round each of 5 operations to 8 bits; their common scale is that of the values
    torch.testing.assert_close(*outs, rtol=0, atol=5 * 2**-8 * float(outs[1].detach().abs().max()))


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # inside torch itself
def test_compiled_for_any_number_of_heads() -> None:
    torch.compiler.reset()
    layer = address(attention(0.5))
    compiled, numbers = torch.compile(layer, backend="eager"), set()
    for call in range(8):
        layer.head_dropout.call.fill_(call)
        numbers.add(int(kept_heads(0.5, call).sum()))
        torch.testing.assert_close(
            self_attention(compiled, inputs()), self_attention(layer, inputs()), rtol=0, atol=1e-12
        )
    assert len(numbers) > 3


def test_a_recorded_pass_finds_the_site() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = attention(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.attn(x, x, x, need_weights=False)[0]

    found = [(site.name, site.p) for site in thinned.sites.find(Block(), inputs())]
    assert found == [("attn.head_dropout", 0.5), ("attn", 0.0)]  # attention weights are a site wherever there are any


def test_what_does_not_fit_is_refused() -> None:
    layer, x = address(attention(0.5)), inputs()
    with pytest.raises(RuntimeError, match="is_causal needs attn_mask"):
        self_attention(layer, x, is_causal=True)
    with pytest.raises(AssertionError, match=r"key_padding_mask must have the shape \(2, 4\)"):
        self_attention(layer, x, key_padding_mask=PADDING[:1])
    with pytest.raises(ValueError, match="embed_dim must be a multiple of num_heads; got embed_dim=5 and num_heads=2"):
        thinned.ThinnedAttention(5, 2)
