"""The dropout sites of a network of one's own, and the groups of layers that they belong to."""

from typing import NamedTuple

import torch
from torch import nn

from thinned import layers
from thinned.audits.observation.modules import is_drop_path
from thinned.errors import InputError, sentence
from thinned.studies.design.setting import SiteForm, SiteGroup
from thinned.tracing.modules import named, original_class
from thinned.tracing.recorded_pass import run_recorded
from thinned.tracing.recorder import VIEWS
from thinned.tracing.silent_recorder import SilentRecorder
from thinned.tracing.site import Op, Site
from thinned.tracing.tensor_map import TensorMap
from thinned.tracing.torch_functions import DropoutCall

__all__ = ["NetworkSite", "NetworkSites", "find_network_sites"]

_CONVOLUTIONS = {f"conv{transposed}{dims}d": dims for transposed in ("", "_transpose") for dims in (1, 2, 3)}
_EMBEDDINGS = ("embedding", "embedding_bag")
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
_LINEAR = ("linear", "bilinear", "addmm", "matmul", "bmm", "baddbmm", "einsum")
_UNITS = frozenset({"linear", "addmm"})  # functions of linear layers
_ATTENTION = ("scaled_dot_product_attention", "multi_head_attention_forward")
_WEIGHTS = frozenset({*_CONVOLUTIONS, *_EMBEDDINGS, *_RECURRENT, *_LINEAR, *_ATTENTION})
_SUMS = frozenset({"add", "iadd", "radd"})
_PRODUCTS = frozenset({"matmul", "bmm", "baddbmm", "einsum"})
#: functions after which the channels of a convolution may lie on another axis
_MOVES = frozenset(
    {"transpose", "permute", "movedim", "swapaxes", "t", "get", "flatten", "reshape", "view", "rearrange"}
)
_SPATIAL = (
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    layers.Dropout1d,
    layers.Dropout2d,
    layers.Dropout3d,
    layers.DropBlock2d,
)
_SPATIAL_FUNCTIONS = ("dropout1d", "dropout2d", "dropout3d", "feature_dropout", "feature_dropout_")
_ELEMENTWISE = ("Dropout", "dropout", "dropout_")  # class and functions whose elements are dropped one by one


class NetworkSite(NamedTuple):
    """A dropout site of a network, as the plan of a study keeps it.

    Attributes:
        name: its name, as :func:`thinned.sites.find` gives it.
        kind: "module", "functional", "attention" or "rnn".
        group: the layers that it belongs to.
        rate: its own rate.
        shape: shape of the dropped tensor in the recorded pass.
        form: the form in which it can drop instead of element by element; None where there is none.
        axes: the axes that share a decision in that form: of space, of time, or all but that of the units.
    """

    name: str
    kind: str
    group: SiteGroup
    rate: float
    shape: tuple[int, ...]
    form: SiteForm | None = None
    axes: tuple[int, ...] = ()


class NetworkSites(NamedTuple):
    """The dropout sites of a network.

    Attributes:
        sites: in the order of the calls.
        noise: functions by which the network draws random numbers of its own, ``module:function``; they stay as they
            are in all arms.
    """

    sites: tuple[NetworkSite, ...]
    noise: tuple[str, ...] = ()

    @property
    def studied(self) -> tuple[NetworkSite, ...]:
        """The sites whose rates a study varies: those with a rate, or all where none has one."""
        return tuple(site for site in self.sites if site.rate > 0) or self.sites


def find_network_sites(network: nn.Module, *args: object, **kwargs: object) -> NetworkSites:
    """Find the dropout sites of a network in one recorded training pass, and the group of each.

    Args:
        network: any module; it stays as it is.
        args: positional arguments of its forward.
        kwargs: keyword arguments of its forward.

    Raises:
        InputError: a site's rate can't be set, as that of ``ConcreteDropout``, which learns it.
        Exception: whatever the forward pass raises.
    """
    recorder = run_recorded(network, _OriginRecorder, args, kwargs).recorder
    modules = dict(named(network))
    sites = []
    for site, origin, is_rearranged in zip(recorder.sites(), recorder.origins, recorder.rearranged(), strict=True):
        if not site.active:
            continue
        if isinstance(site.module, layers.ConcreteDropout):
            value = f"{site.name} is a ConcreteDropout, which learns its rate"
            raise InputError(sentence("a study must be able to set the rate of each site", value, "use Dropout there"))
        form, axes = _form(site, origin, modules, is_rearranged)
        group = _group(site, origin)
        sites.append(NetworkSite(site.name, site.kind, group, float(site.p), site.shape, form, axes))
    noise = tuple(dict.fromkeys(f"{op.module}:{op.name}" for op in recorder.noise))
    return NetworkSites(tuple(sites), noise)


class _Origin(NamedTuple):
    """The last function with weights that a tensor has passed.

    Attributes:
        number: place of the call in the pass.
        op: name of the function.
        module: qualified name of the module that called it.
        moved: True where axes were exchanged or joined since.
    """

    number: int
    op: str
    module: str
    moved: bool = False


class _OriginRecorder(SilentRecorder):
    """Records sites, and the origin of what each one drops.

    Attributes:
        origins: one for each draft.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.origins: list[_Origin | None] = []
        self._origins: TensorMap[_Origin] = TensorMap()
        self._number = 0
        self._moved: TensorMap[bool] = TensorMap()  # views of a site's output with its axes elsewhere
        self._rearranged: set[int] = set()

    def rearranged(self) -> list[bool]:
        """For each draft, True where a recurrent layer takes its output with the axes exchanged or joined."""
        return [id(draft) in self._rearranged for draft, _ in self.drafts]

    def _consume(self, source: list[torch.Tensor], made: list[torch.Tensor], name: str) -> None:
        plain, carried = name.strip("_"), self._carries.get(source[0]) or []
        is_moved = self._moved.get(source[0]) is not None
        if is_moved and plain in _RECURRENT:
            self._rearranged.update(map(id, carried))
        super()._consume(source, made, name)
        for tensor in made:
            if name in VIEWS and carried and (is_moved or plain in _MOVES):
                self._moved[tensor] = True
            elif tensor in self._moved and tensor is not source[0]:
                del self._moved[tensor]
        if plain in _WEIGHTS:
            self._number += 1
            origin: _Origin | None = _Origin(self._number, plain, self._path()[0])
        else:
            # of a sum, the branch rather than the stream that it is added to
            known = [found for tensor in source if (found := self._origins.get(tensor)) is not None]
            origin = max(known, default=None)
            if origin is not None and plain in _MOVES:
                origin = origin._replace(moved=True)
        for tensor in made:
            if origin is not None:
                self._origins[tensor] = origin
            elif tensor in self._origins and not any(tensor is other for other in source):
                del self._origins[tensor]

    def _site(
        self,
        kind: str,
        op: str,
        call: DropoutCall,
        source: list[torch.Tensor],
        made: list[torch.Tensor],
        *producer: Op | None,
    ) -> None:
        first = len(self.drafts)
        origin = self._origins.get(source[0]) if source else None
        super()._site(kind, op, call, source, made, *producer)
        self.origins += [origin] * (len(self.drafts) - first)


def _group(site: Site, origin: _Origin | None) -> SiteGroup:
    """The first group whose condition holds."""
    module, consumers = site.module, site.consumers
    names = {consumer.name.strip("_") for consumer in consumers}
    is_softmax = site.producer is not None and site.producer.name.lower() == "softmax"
    weights = "" if origin is None else origin.op
    # what a convolution made with its channels last: patches of an image or a sound, as a transformer takes them
    are_patches = weights in _CONVOLUTIONS and len(site.shape) == 3
    is_map = isinstance(module, _SPATIAL) or site.op in _SPATIAL_FUNCTIONS or _is_feature_map(site, origin)
    is_linear = weights in (*_LINEAR, *_ATTENTION, *_CONVOLUTIONS) or bool(names & {"Linear", "linear", "addmm"})
    conditions: tuple[tuple[SiteGroup, bool], ...] = (
        ("attention weights", site.kind == "attention" or (is_softmax and bool(names & _PRODUCTS))),
        ("drop path", is_drop_path(module)),
        ("recurrent", site.kind == "rnn" or isinstance(module, layers.LockedDropout)),
        ("embeddings", isinstance(module, layers.EmbeddingDropout | layers.WordDropout) or weights in _EMBEDDINGS),
        ("residual branches", isinstance(module, layers.DropoutAdd) or (bool(names) and names <= _SUMS)),
        ("convolutional", is_map),
        ("recurrent", weights in _RECURRENT or any(map(_is_recurrent, consumers))),
        ("embeddings", are_patches),
        ("fully connected", is_linear),
        ("other", True),
    )
    return next(group for group, holds in conditions if holds)


def _is_feature_map(site: Site, origin: _Origin | None) -> bool:
    """True where the tensor has the layout of a convolution's output, ``(N, C, *space)``."""
    dims = None if origin is None or origin.moved else _CONVOLUTIONS.get(origin.op)
    return dims is not None and len(site.shape) == dims + 2


def _is_recurrent(op: Op) -> bool:
    return op.name in ("LSTM", "GRU", "RNN") or op.name.lower().strip("_") in _RECURRENT


def _form(
    site: Site, origin: _Origin | None, modules: dict[str, nn.Module], is_rearranged: bool
) -> tuple[SiteForm, tuple[int, ...]] | tuple[None, tuple[()]]:
    """The form in which a site that drops element by element can drop instead, and the axes that share a decision."""
    elementwise = site.kind == "rnn" or (
        site.op in _ELEMENTWISE and (site.kind == "functional" or original_class(site.module).__name__ == "Dropout")
    )
    if not elementwise:
        return None, ()
    if _is_feature_map(site, origin):
        return "spatial", tuple(range(2, len(site.shape)))
    places = [site.name.partition("#")[0]] if site.kind == "rnn" else []
    if not is_rearranged:
        places += [op.module for op in site.consumers]
    if origin is not None and origin.op in _RECURRENT and not origin.moved:
        places.append(origin.module)
    for place in places:
        module = modules.get(place)
        if isinstance(module, nn.RNNBase) and len(site.shape) == 3:  # packed sequences have two axes
            return "locked", (1 if module.batch_first else 0,)
    if _is_between_linear_layers(site, origin):
        return "one_mask", tuple(range(len(site.shape) - 1))
    return None, ()


def _is_between_linear_layers(site: Site, origin: _Origin | None) -> bool:
    """True where a linear layer made the units, and linear layers alone take them."""
    names = {consumer.name.strip("_").lower() for consumer in site.consumers}
    made = origin is not None and origin.op in _UNITS and not origin.moved
    return made and bool(names) and names <= _UNITS and len(site.shape) > 1
