"""Settings applied to networks of one's own: rates, groups and forms, in training and in evaluation."""

import copy

import pytest
import torch
import torch.nn.functional as F
from network_cases import CASES, TRANSFORMERS, NetworkCase, output
from torch import nn

import thinned
from thinned.conversion import override_sites
from thinned.errors import InputError
from thinned.studies.design.own_network.network_arms import network_arms
from thinned.studies.design.own_network.site_groups import NetworkSite, find_network_sites
from thinned.studies.design.setting import Setting, SiteRates
from thinned.studies.training.apply_setting import apply_setting, site_overrides

ALL = {**CASES, **TRANSFORMERS}


def studied(case: NetworkCase, network: nn.Module) -> tuple[NetworkSite, ...]:
    return find_network_sites(network, *case.args, **case.kwargs).studied


def applied(network: nn.Module, setting: Setting, sites: tuple[NetworkSite, ...], seed: int = 5) -> nn.Module:
    network = copy.deepcopy(network).train()
    apply_setting(network, setting, sites)
    thinned.address(network, seed)
    return network


@pytest.mark.parametrize("name", ALL)
def test_every_arm_drops_where_it_says_and_evaluation_stays(name: str) -> None:
    if name in TRANSFORMERS:
        pytest.importorskip("transformers")
    case = ALL[name]
    network = case.build()
    sites = studied(case, network)
    expected = output(copy.deepcopy(network).eval(), case)
    outputs = {}
    for setting in dict.fromkeys(setting for arm in network_arms(sites) for setting in arm.settings):
        trained = applied(network, setting, sites)
        outputs[setting] = output(trained, case)
        same = torch.allclose(outputs[setting], expected, atol=1e-6)
        assert same is not setting.drops, setting.label
        assert torch.equal(output(trained.eval(), case), expected), setting.label
        # the same key for the same site: another network with these settings has the same masks
        assert torch.equal(outputs[setting], output(applied(network, setting, sites), case))


def test_each_site_gets_its_rate() -> None:
    case = CASES["convolutional"]
    sites = studied(case, case.build())

    def rates(setting: Setting) -> list[float]:
        return [override.rate for override in site_overrides(setting, sites).values()]

    assert rates(Setting()) == [0, 0, 0, 0]
    assert rates(Setting(dropout=0.4)) == [0.4] * 4
    assert rates(Setting(sites=SiteRates(0.5))) == [0.05, 0.1, 0.15, 0.25]
    assert rates(Setting(sites=SiteRates(3))) == pytest.approx([0.3, 0.6, 0.9, 0.95])
    assert rates(Setting(sites=SiteRates(1, groups=("convolutional",)))) == [0.1, 0.2, 0, 0]
    assert rates(Setting(0.4, sites=SiteRates(off=("convolutional",)))) == [0, 0, 0.4, 0.4]
    forms = site_overrides(Setting(0.4, sites=SiteRates(form="spatial")), sites)
    assert [override.shared for override in forms.values()] == [(2, 3), None, None, None]


class Ones(nn.Module):
    """Masks themselves: dropout of ones, by a function, a module, and a module that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([F.dropout(x, 0.25, self.training), self.drop(x), self.drop(x), F.dropout(x, p=0.25)])


def masks(setting: Setting) -> torch.Tensor:
    x = torch.ones(4, 1000)
    network = Ones()
    return applied(network, setting, find_network_sites(network, x).studied)(x) == 0


def test_a_higher_rate_drops_what_a_lower_one_drops_and_more_at_every_site() -> None:
    low, high = masks(Setting(dropout=0.2)), masks(Setting(dropout=0.6))
    assert not (low & ~high).any()
    # 4,000 decisions a site: six standard deviations; false alarm below 1e-7 for all eight shares
    for mask, rate in ((low, 0.2), (high, 0.6)):
        assert torch.allclose(mask.double().mean((1, 2)), torch.full((4,), rate, dtype=torch.float64), atol=0.047)
    first = low.flatten(1)
    assert len({tuple(row.tolist()) for row in first}) == 4  # each site has masks of its own


def test_sites_of_one_module_can_differ() -> None:
    x, network = torch.ones(4, 1000), Ones()
    sites = find_network_sites(network, x).studied
    groups = [
        site._replace(group=group)
        for site, group in zip(sites, ("other", "other", "recurrent", "recurrent"), strict=True)
    ]
    assert [site.name for site in sites] == ["", "drop", "drop#1", "#1"]
    dropped = applied(network, Setting(0.3, sites=SiteRates(off=("other",))), tuple(groups))(x) == 0
    assert dropped.any((1, 2)).tolist() == [False, False, True, True]


def test_forms_share_their_axes() -> None:
    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop = nn.Conv2d(1, 64, 1), nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features = self.conv(x).abs() + 1
            return torch.cat([self.drop(features), F.dropout(features, 0.5, self.training)], 1)

    x, network = torch.ones(2, 1, 3, 3), Maps()
    sites = find_network_sites(network, x).studied
    assert [site.form for site in sites] == ["spatial", "spatial"]
    spatial = (applied(network, Setting(0.5, sites=SiteRates(form="spatial")), sites)(x) == 0).flatten(2)
    assert torch.equal(spatial.any(2), spatial.all(2))
    assert spatial.any()
    assert not spatial.all()
    element_wise = (applied(network, Setting(0.5), sites)(x) == 0).flatten(2)
    assert not torch.equal(element_wise.any(2), element_wise.all(2))


@pytest.mark.parametrize("batch_first", [False, True])
def test_locked_dropout_between_the_layers_of_a_recurrent_module(batch_first: bool) -> None:
    """The second layer passes on what the first one made: with equal inputs at all steps, equal masks at all steps."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(16, 16, 2, nonlinearity="relu", dropout=0.5, batch_first=batch_first, bias=False)
            with torch.no_grad():
                for name, weight in self.rnn.named_parameters():
                    weight.copy_(torch.eye(16) if "_ih_" in name else torch.zeros(16, 16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0]

    network, time = Recurrent(), 1 if batch_first else 0
    x = torch.ones(5, 5, 16)
    sites = find_network_sites(network, x).studied
    locked = applied(network, Setting(0.5, sites=SiteRates(form="locked")), sites)(x) == 0
    assert torch.equal(locked.any(time), locked.all(time))
    assert locked.any()
    free = applied(network, Setting(0.5), sites)(x) == 0
    assert not torch.equal(free.any(time), free.all(time))


def head(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(3)
    linear = [nn.Linear(6, 40), nn.Linear(40, 30), nn.Linear(30, 2)]
    return nn.Sequential(
        *layers, linear[0], nn.ReLU(), nn.Dropout(0.5), linear[1], nn.Tanh(), nn.Dropout(0.2), linear[2]
    )


@pytest.mark.parametrize("before", [(), (nn.Flatten(),)], ids=["alone", "flatten"])
def test_one_mask_for_a_mini_batch_is_computed_at_its_real_size(before: tuple[nn.Module, ...]) -> None:
    """Where a sequence holds nothing else, and masked elsewhere: the same network to the rounding of short sums."""
    x = torch.linspace(-1, 1, 48).view(8, 6)
    network = nn.Sequential(nn.Identity(), head(*before))
    sites = find_network_sites(network, x).studied
    assert [(site.form, site.axes) for site in sites] == [("one_mask", (0,))] * 2
    setting = Setting(0.5, sites=SiteRates(form="one_mask"))
    trained, masked = applied(network, setting, sites), copy.deepcopy(network).train()
    override_sites(masked, site_overrides(setting, sites))
    thinned.address(masked, 5)
    assert isinstance(trained[1], thinned.ThinnedMLP) is not bool(before)
    outputs = [trained(x), masked(x)]
    gradients = [
        torch.autograd.grad(output.square().sum(), list(model.parameters()))
        for output, model in zip(outputs, (trained, masked), strict=True)
    ]
    torch.testing.assert_close(*outputs)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
        assert torch.equal(one == 0, other == 0)  # what is dropped has gradients of exact zeros
    assert trained.state_dict().keys() == masked.state_dict().keys()
    assert torch.equal(trained.eval()(x), network.eval()(x))
    units = (gradients[0][0] == 0).all(1)
    assert units.any()
    assert not units.all()


def test_a_printed_network_tells_its_rates() -> None:
    case = CASES["sequence"]
    network = case.build()
    sites = studied(case, network)
    apply_setting(network, Setting(0.4, sites=SiteRates(off=("embeddings",))), sites)
    assert (network.drop1.p, network.drop2.p, network.lstm.dropout) == (0.0, 0.4, 0.4)


def test_another_network_is_refused() -> None:
    case = CASES["convolutional"]
    sites = studied(case, case.build())
    with pytest.raises(InputError, match="built alike every time; it has no module 'drop3' any more"):
        apply_setting(CASES["sequence"].build(), Setting(), sites)
    network = case.build()
    keyed = thinned.Dropout(0.1)
    keyed.key = torch.tensor(3)
    network.drop1 = keyed
    with pytest.raises(InputError, match="drop1 has a key already; leave the key out"):
        apply_setting(network, Setting(), sites)
