"""Sites of networks of one's own, and the groups that they belong to."""

import copy

import pytest
import torch
from network_cases import CASES, TRANSFORMERS, NetworkCase
from torch import nn

import thinned
from thinned.errors import InputError
from thinned.studies.design.own_network.site_groups import NetworkSites, find_network_sites

GROUPS = {
    "convolutional": {
        "drop1": ("convolutional", 0.1, "spatial", (2, 3)),
        "drop2": ("convolutional", 0.2, None, ()),
        "": ("fully connected", 0.3, None, ()),
        "drop3": ("fully connected", 0.5, "one_mask", (0,)),
    },
    "sequence": {
        "drop1": ("embeddings", 0.1, "locked", (1,)),
        "lstm": ("recurrent", 0.2, "locked", (1,)),
        "lstm#1": ("recurrent", 0.2, "locked", (1,)),
        "drop2": ("recurrent", 0.3, "locked", (1,)),
        "locked": ("recurrent", 0.3, None, ()),
    },
    "transformer": {
        "drop": ("embeddings", 0.1, None, ()),
        **{
            f"encoder.layers.{layer}.{name}": (group, 0.1, *form)
            for layer in range(2)
            for name, group, *form in (
                ("self_attn", "attention weights", None, ()),
                ("dropout1", "residual branches", None, ()),
                ("dropout", "fully connected", "one_mask", (0, 1)),
                ("dropout2", "residual branches", None, ()),
            )
        },
        "path": ("drop path", 0.2, None, ()),
        "head_drop": ("fully connected", 0.4, "one_mask", (0,)),
    },
    "patches": {
        "drop": ("embeddings", 0.1, None, ()),
        "attention_drop": ("attention weights", 0.1, None, ()),
    },
    "functional": {
        **dict.fromkeys(("", "#1"), ("fully connected", 0.25, None, ())),
        **dict.fromkeys(("drop", "drop#1"), ("fully connected", 0.25, "one_mask", (0,))),
    },
}


def found(case: NetworkCase) -> NetworkSites:
    return find_network_sites(case.build(), *case.args, **case.kwargs)


@pytest.mark.parametrize("name", GROUPS)
def test_each_site_belongs_to_the_layers_around_it(name: str) -> None:
    result = found(CASES[name])
    assert {site.name: (site.group, site.rate, site.form, site.axes) for site in result.sites} == GROUPS[name]
    assert result.noise == ()
    assert result.studied == result.sites


@pytest.mark.parametrize("attention", TRANSFORMERS)
def test_a_transformer_of_transformers_has_four_groups(attention: str) -> None:
    pytest.importorskip("transformers")
    groups = {site.name: site.group for site in found(TRANSFORMERS[attention]).sites}
    assert groups.pop("bert.embeddings.dropout") == "embeddings"
    assert groups.pop("dropout") == "fully connected"
    layers = [f"bert.encoder.layer.{layer}" for layer in range(2)]
    assert [groups.pop(f"{layer}.attention.self") for layer in layers] == ["attention weights"] * 2
    assert set(groups.values()) == {"residual branches"}


def test_the_network_stays_as_it_is() -> None:
    case = CASES["sequence"]
    network = case.build().eval()
    before = copy.deepcopy(network.state_dict())
    find_network_sites(network, *case.args)
    assert not network.training
    assert type(network.drop1) is nn.Dropout
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_sites_without_a_rate_are_studied_only_where_none_has_one() -> None:
    x = torch.ones(2, 3)
    mixed = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.0), nn.Linear(3, 3), nn.Dropout(0.2))
    assert [site.name for site in find_network_sites(mixed, x).studied] == ["3"]
    off = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.0))
    assert [site.name for site in find_network_sites(off, x).studied] == ["1"]


def test_layers_of_ours_are_grouped_by_what_they_drop() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.word = thinned.EmbeddingDropout(9, 4, p=0.1), thinned.WordDropout(0.2)
            self.linear, self.add = nn.Linear(4, 4), thinned.DropoutAdd(0.3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.word(self.embedding(x))
            return self.add(self.linear(x), x)

    sites = find_network_sites(Words(), torch.arange(6).view(2, 3)).sites
    assert [(site.name, site.group) for site in sites] == [
        ("embedding", "embeddings"),
        ("word", "embeddings"),
        ("add", "residual branches"),
    ]


def test_a_stream_that_dropout_leaves_is_not_a_residual_branch() -> None:
    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.drop, self.linear = nn.Embedding(9, 4), nn.Dropout(0.1), nn.Linear(4, 4)
            self.inner, self.last = nn.Dropout(0.1), nn.Dropout(0.1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.drop(self.embedding(x))
            x = x + self.inner(self.linear(x))
            return self.linear(self.last(x))  # the origin of a sum is its branch, not the embedding far behind

    groups = [site.group for site in find_network_sites(Stream(), torch.arange(6).view(2, 3)).sites]
    assert groups == ["embeddings", "residual branches", "fully connected"]


def test_noise_of_the_networks_own_is_told() -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.randn_like(x)

    assert find_network_sites(Noisy(), torch.ones(2, 3)) == NetworkSites((), (":randn_like",))


def test_a_rate_that_is_learned_is_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 3), thinned.ConcreteDropout(0.1))
    with pytest.raises(InputError, match="set the rate of each site; 1 is a ConcreteDropout, which learns its rate"):
        find_network_sites(network, torch.ones(2, 3))


def test_packed_sequences_have_no_axis_of_time() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 4, 2, dropout=0.1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3, 2]))
            return self.lstm(packed)[0].data

    [site] = find_network_sites(Packed(), torch.ones(3, 2, 3)).sites
    assert (site.group, site.form) == ("recurrent", None)


@pytest.mark.parametrize("exchanged", [False, True])
def test_the_axis_of_time_is_known_where_no_axis_was_exchanged(exchanged: bool) -> None:
    """Locked dropout along the batch would give all examples one mask."""

    class Exchanged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.before, self.behind, self.lstm = nn.Dropout(0.1), nn.Dropout(0.1), nn.LSTM(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.before(x)
            x, _ = self.lstm(x.transpose(0, 1) if exchanged else x)
            return self.behind(x.transpose(0, 1) if exchanged else x)

    sites = find_network_sites(Exchanged(), torch.ones(5, 2, 3)).sites
    assert [site.name for site in sites] == ["before", "behind"]
    assert [site.axes for site in sites] == ([(), ()] if exchanged else [(0,), (0,)])
    assert [site.group for site in sites] == ["recurrent", "recurrent"]
