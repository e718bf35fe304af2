"""The arms of a study of a network of one's own, made from its dropout sites, and the questions about them."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from thinned.errors import InputError, sentence
from thinned.studies.design.arm import Arm
from thinned.studies.design.definition import Grid, dropout_settings
from thinned.studies.design.own_network.site_groups import NetworkSite
from thinned.studies.design.own_network.site_rates import LARGEST_RATE, trained_network
from thinned.studies.design.questions import Question, complete
from thinned.studies.design.setting import GROUP_WORDS, Setting, SiteForm, SiteGroup, SiteRates

__all__ = ["NETWORK_GRIDS", "duplicate_arms", "network_arms", "network_questions"]

_RATES = (0.1, 0.2, 0.3, 0.5, 0.7)
_SCALES = (0.5, 1.0, 1.5, 2.0, 3.0)
_PARTIAL_RATES = (0.1, 0.3)  # of one group, where the network has no rates of its own
_DECAYS = (0.01, 0.1, 1.0)
_DECAYS_WITH_DROPOUT = (0.1,)

#: quantities that arms choose from a grid, besides those of tables
NETWORK_GRIDS = (
    Grid("scale of the rates", lambda setting: (setting.sites.scale or 0.0) if setting.sites else 0.0),
    Grid("learning rate", lambda setting: setting.learning_rate or 0.0),
)


def network_arms(
    sites: Sequence[NetworkSite],
    chosen: Sequence[str | Arm] | None = None,
    rates: Sequence[float] | None = None,
    learning_rates: Sequence[float] = (),
) -> tuple[Arm, ...]:
    """Make the arms of a study from the dropout sites of a network; "none" comes first, a mix last.

    Arm "dropout" gives all sites one rate of a grid, or, where they differ, scales all rates together. "as_is" leaves
    them. "without_GROUP" turns one group of sites off and "only_GROUP" all others, where there are several groups.
    "spatial" and "locked" change the form of the masks where the features allow it, and "one_mask", which must be asked
    for by name, between linear layers. Of several arms that train the same networks, the first is taken:
    :func:`duplicate_arms` names the others.

    Args:
        sites: the sites whose rates are varied: :attr:`NetworkSites.studied`.
        chosen: names of arms, and arms that the user defines; None takes all that the sites allow, but "one_mask".
        rates: rates of the arm "dropout"; None takes a grid, or scales the network's own rates.
        learning_rates: every setting is tried at each of these; empty takes the plan's alone.

    Raises:
        InputError: a name is unknown or given twice, the sites do not allow an arm, or there is no arm besides "none".
    """
    known = {arm.name: arm for arm in _all_arms(sites, rates)}
    picked = _picked(known, _default_names(known) if chosen is None else chosen)
    copies = _copies([known["none"], *picked], sites)
    picked = [arm for arm in picked if arm.name not in copies]
    arms = {"none": known["none"], **{arm.name: arm for arm in picked if arm.kind != "mix"}}
    if len(arms) < 2:
        raise InputError(sentence("a study must have an arm besides 'none' and a mix", "got no other", "add dropout"))
    union = dict.fromkeys(setting for arm in arms.values() if not arm.warning for setting in arm.settings)
    for arm in picked:
        if arm.kind == "mix":
            arms[arm.name] = dataclasses.replace(arm, settings=tuple(dict.fromkeys((*union, *arm.settings))))
    return tuple(_crossed(arm, learning_rates) for arm in arms.values())


def duplicate_arms(
    sites: Sequence[NetworkSite], chosen: Sequence[str | Arm] | None = None, rates: Sequence[float] | None = None
) -> tuple[tuple[str, str], ...]:
    """The label of each arm that :func:`network_arms` leaves out, and that of the one that trains the same networks."""
    known = {arm.name: arm for arm in _all_arms(sites, rates)}
    arms = [known["none"], *_picked(known, _default_names(known) if chosen is None else chosen)]
    labels = {arm.name: arm.label for arm in arms}
    return tuple((labels[name], labels[same]) for name, same in _copies(arms, sites).items())


def _default_names(known: Iterable[str]) -> list[str]:
    """Each further question costs the others power: one mask, which saves time, is asked about by name."""
    return [name for name in known if name != "one_mask"]


def _copies(arms: Sequence[Arm], sites: Sequence[NetworkSite]) -> dict[str, str]:
    """The name of each arm that trains the same networks as one before it, and the name of that one."""
    first: dict[frozenset[tuple[object, ...]], str] = {}
    found: dict[str, str] = {}
    for arm in arms:
        if arm.kind != "mix":  # it chooses among the networks of the others
            same = first.setdefault(frozenset(trained_network(setting, sites) for setting in arm.settings), arm.name)
            if same != arm.name:
                found[arm.name] = same
    return found


def _picked(known: dict[str, Arm], chosen: Iterable[str | Arm]) -> list[Arm]:
    picked: dict[str, Arm] = {}
    for one in chosen:
        if not isinstance(one, Arm) and one not in known:
            value, remedy = f"got {one!r}", "others need sites that the network does not have"
            raise InputError(sentence(f"arms must be among {', '.join(known)}", value, remedy))
        arm = one if isinstance(one, Arm) else known[one]
        unusable = next((setting for setting in arm.settings if setting.needs_own_mlp or setting.extras), None)
        if unusable is not None:
            raise InputError(sentence(f"arm {arm.name!r} must leave the network's structure", f"got {unusable.label}"))
        if picked.setdefault(arm.name, arm) != arm:
            raise InputError(sentence("arms must have different names", f"{arm.name!r} occurs twice"))
    return list(picked.values())


def _crossed(arm: Arm, learning_rates: Sequence[float]) -> Arm:
    if not learning_rates:
        return arm
    settings = (
        setting if setting.learning_rate else dataclasses.replace(setting, learning_rate=rate)
        for setting in arm.settings
        for rate in sorted(set(learning_rates))
    )
    return dataclasses.replace(arm, settings=tuple(dict.fromkeys(settings)))


def _all_arms(sites: Sequence[NetworkSite], rates: Sequence[float] | None) -> Iterator[Arm]:
    """All arms that the sites allow, in order."""
    yield Arm("none", "no regularisation", (Setting(),), kind="reference")
    if sites:
        dropout = _dropout_settings(sites, rates)
        own = _own_setting(sites)
        yield Arm("dropout", "dropout", dropout)
        if own is not None:
            yield Arm("as_is", "dropout as it is", (own,))
        yield from _group_arms(sites, own)
        yield from _form_arms(sites, dropout)
    yield Arm("weight_decay", "weight decay", tuple(Setting(weight_decay=decay) for decay in _DECAYS))
    if sites:
        middle = (own,) if own is not None else tuple(s for s in dropout if s.dropout in _PARTIAL_RATES) or dropout[:2]
        both = (dataclasses.replace(s, weight_decay=decay) for s in middle for decay in _DECAYS_WITH_DROPOUT)
        yield Arm("dropout_weight_decay", "dropout and weight decay", tuple(both))
    yield Arm("cocktail", "the best mix", (Setting(),), kind="mix")


def _own_setting(sites: Sequence[NetworkSite]) -> Setting | None:
    """The network as it is; None where no site has a rate. One rate is written as such, so that none trains twice."""
    own = {site.rate for site in sites}
    if not any(own):
        return None
    return Setting(dropout=own.pop()) if len(own) == 1 and max(own) < 1 else Setting(sites=SiteRates(scale=1.0))


def _dropout_settings(sites: Sequence[NetworkSite], rates: Sequence[float] | None) -> tuple[Setting, ...]:
    """Settings of the arm "dropout": all sites at one rate, or all rates scaled together where they differ."""
    own = _own_setting(sites)
    some_off = any(site.rate == 0 for site in sites)  # inserted ones, which a scale would leave off
    if rates is not None or own is None or own.dropout or some_off:
        grid = {rate for rate in (_RATES if rates is None else rates) if rate}
        return dropout_settings(sorted(grid | ({own.dropout} - {0.0} if rates is None and own is not None else set())))
    largest = max(site.rate for site in sites)
    scales = [scale for scale in _SCALES if scale <= 1 or scale * largest <= LARGEST_RATE]
    return tuple(Setting(sites=SiteRates(scale=scale)) for scale in scales)


def _group_arms(sites: Sequence[NetworkSite], own: Setting | None) -> Iterator[Arm]:
    """One group off, the others on, and one on, the others off: at the network's own rates, or at a few."""
    groups = tuple(group for group in GROUP_WORDS if any(site.group == group for site in sites))
    if len(groups) < 2:
        return
    bases = dropout_settings(_PARTIAL_RATES) if own is None else (own,)
    for group in groups:
        settings = tuple(_with_sites(base, off=(group,)) for base in bases)
        yield Arm(f"without_{_identifier(group)}", f"no dropout on {GROUP_WORDS[group]}", settings)
    for group in groups:
        settings = tuple(_with_sites(base, groups=(group,)) for base in bases)
        yield Arm(f"only_{_identifier(group)}", f"dropout on {GROUP_WORDS[group]} alone", settings)


def _form_arms(sites: Sequence[NetworkSite], dropout: Sequence[Setting]) -> Iterator[Arm]:
    """The settings of the arm "dropout" with masks of another form, where a site can have it."""
    labels: dict[SiteForm, str] = {
        "spatial": "spatial dropout",
        "locked": "locked dropout",
        "one_mask": "one mask for each mini-batch",
    }
    for form, label in labels.items():
        if any(site.form == form for site in sites):
            yield Arm(form, label, tuple(_with_sites(setting, form=form) for setting in dropout))


def _with_sites(
    setting: Setting,
    *,
    groups: tuple[SiteGroup, ...] = (),
    off: tuple[SiteGroup, ...] = (),
    form: SiteForm | None = None,
) -> Setting:
    scale = None if setting.sites is None else setting.sites.scale
    return dataclasses.replace(setting, sites=SiteRates(scale, groups, off, form))


def _identifier(group: SiteGroup) -> str:
    return group.replace(" ", "_")


def network_questions(arms: Sequence[Arm], *, trains_itself: bool = True) -> tuple[Question, ...]:
    """Declare the questions about these arms before anything trains; the first about a regulariser is primary.

    Args:
        arms: the arms.
        trains_itself: the study trains the networks. Those that a function of the user's trains are known as it leaves
            them: no question is asked about early stopping.
    """
    names = {arm.name for arm in arms}
    whole = "as_is" if "as_is" in names else "dropout"
    asked = [
        Question("dropout", "best", "none", "best", "Does dropout help, when both stop early?"),
        Question("none", "best", "none", "end", "Does early stopping help?"),
        Question("dropout", "end", "none", "best", "Is dropout for the full budget better than early stopping?"),
        Question("as_is", "best", "none", "best", "Does dropout as it is help?"),
        Question("dropout", "best", "as_is", "best", "Are other rates better than the network's own?"),
        Question("weight_decay", "best", "none", "best", "Does weight decay help, when both stop early?"),
        Question("dropout", "best", "weight_decay", "best", "Is dropout better than weight decay?"),
        Question("dropout_weight_decay", "best", "dropout", "best", "Does weight decay help beside dropout?"),
    ]
    for group, words in GROUP_WORDS.items():
        text = f"Is the network better without dropout on {words}?"
        asked.append(Question(f"without_{_identifier(group)}", "best", whole, "best", text))
    for group, words in GROUP_WORDS.items():
        text = f"Does dropout on {words} alone help?"
        asked.append(Question(f"only_{_identifier(group)}", "best", "none", "best", text))
    asked += [
        Question("spatial", "best", "dropout", "best", "Is spatial dropout better than element-wise dropout?"),
        Question("locked", "best", "dropout", "best", "Is locked dropout better than element-wise dropout?"),
        Question(
            *("one_mask", "best", "dropout", "best"),
            "Is one mask for each mini-batch better than one for each example?",
        ),
        Question("cocktail", "best", "none", "best", "Does the best mix help?"),
    ]
    known = [question for question in asked if {question.arm, question.against} <= names]
    if trains_itself:
        return complete(arms, known)
    single = complete(arms, [question for question in known if "end" not in (question.when, question.against_when)])
    texts = (q._replace(text=q.text.replace(", when both stop early", "")) for q in single)
    return tuple(question for question in texts if question.arm != question.against)
