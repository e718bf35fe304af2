"""Dropout of token numbers and of the rows of an embedding."""

import numpy as np
import pytest
import torch
from layer_cases import CALL, KEY, P, address
from torch import nn

import thinned
from thinned import philox


def test_word_dropout_of_token_numbers() -> None:
    tokens = torch.arange(2, 402).view(20, 20)
    tokens[:, -3:] = 0
    kept = torch.from_numpy(philox.keep(np.arange(400).reshape(20, 20), P, KEY, CALL))
    assert torch.equal(address(thinned.WordDropout(P, unk_index=1))(tokens), torch.where(kept, tokens, 1))
    padded = address(thinned.WordDropout(P, unk_index=1, padding_idx=0))(tokens)
    assert (padded[:, -3:] == 0).all()
    assert torch.equal(padded[:, :-3], torch.where(kept, tokens, 1)[:, :-3])
    with pytest.raises(ValueError, match="token numbers need unk_index"):
        thinned.WordDropout(P)(tokens)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_embedding_drops_rows_of_the_table(dtype: torch.dtype) -> None:
    layer = address(thinned.EmbeddingDropout(300, 4, padding_idx=0, p=P)).to(dtype)
    words = torch.randint(0, 300, (50, 20))
    kept = torch.from_numpy(philox.keep(np.arange(300), P, KEY, CALL))
    wide = layer.weight if dtype.itemsize > 2 else layer.weight.float()
    table = torch.where(kept[:, None], (wide * philox.scale(P)).to(dtype), torch.zeros((), dtype=dtype))
    assert torch.equal(layer(words), table[words])


def test_embedding_is_torchs_but_for_the_rows() -> None:
    layer = thinned.EmbeddingDropout(30, 4, padding_idx=0, p=P)
    plain = nn.Embedding(30, 4, padding_idx=0)
    plain.load_state_dict(layer.state_dict())
    words = torch.randint(0, 30, (5, 6))
    assert torch.equal(layer.eval()(words), plain(words))
    layer = address(layer.train().double())
    check = lambda weight: torch.func.functional_call(layer, {"weight": weight}, (words[:2],))  # noqa: E731
    layer.padding_idx = None  # torch withholds the gradient of the padding row, so that gradcheck would fail
    assert torch.autograd.gradcheck(check, layer.weight.detach().requires_grad_())
    pretrained = thinned.EmbeddingDropout.from_pretrained(plain.weight)
    assert torch.equal(pretrained.weight, plain.weight)
