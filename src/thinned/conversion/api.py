"""Makes every dropout of a model ours, and gives its masks addresses: ``convert`` and ``address``."""

import warnings
from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from thinned import layers
from thinned.conversion.clock import CLOCK
from thinned.conversion.converted_model import ConvertedModel
from thinned.conversion.forward_pass import SiteOverride
from thinned.conversion.forward_wrapper import ForwardWrapper
from thinned.conversion.report import ConversionReport
from thinned.conversion.routed_class import route, wrapper_of
from thinned.conversion.saved_clock import saved_clock
from thinned.conversion.sharding import Parts, PartsOfSite, check_parts
from thinned.errors import check_p, sentence
from thinned.layers import Addressed
from thinned.layers.base import register_address
from thinned.layers.sub_network import is_sub_network
from thinned.ops.backends import choice
from thinned.tracing.modules import TORCH_DROPOUTS, named, original_class
from thinned.tracing.site import Recording
from thinned.tracing.sites import record

__all__ = [
    "ConversionReport",
    "SiteOverride",
    "address",
    "convert",
    "override_sites",
    "plain_state_dict",
    "wrap_layers",
]

_LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dropout: layers.Dropout,
    nn.Dropout1d: layers.Dropout1d,
    nn.Dropout2d: layers.Dropout2d,
    nn.Dropout3d: layers.Dropout3d,
    nn.AlphaDropout: layers.AlphaDropout,
    nn.FeatureAlphaDropout: layers.FeatureAlphaDropout,
}


def convert(model: nn.Module, *args: object, **kwargs: object) -> ConversionReport:
    """Make every dropout of a model ours, in place.

    Dropout modules of ``torch.nn`` become ours: the same objects, of another class. What torch's functions drop in a
    forward (``F.dropout``, ``scaled_dot_product_attention``, attention and recurrent modules) is taken over while the
    model trains. Parameters, state dict keys, hooks and train/eval flags stay, and evaluation runs the code that it ran
    before. The model can be copied, pickled and compiled as before; copies are converted, too.

    An ``nn.Sequential`` of linear layers, activations and ``BatchDropout`` becomes a :class:`thinned.ThinnedMLP`, which
    has the same masks and computes what they keep alone.

    Args:
        model: any module.
        args: an example input of its forward; with one, a recorded pass (:func:`thinned.sites.find`) completes the
            report at once, without it functional sites are added as the model runs.
        kwargs: of its forward.

    Returns:
        What was converted, and what was not, with the reason: dropout of a class of somebody's own that draws its own
        random numbers, TorchScript, and functions that activation checkpointing runs without a module. Where the
        model's parameters lie on a device that has no kernels of ours (CUDA without Triton, MPS), it says so: dropout
        is slower there than torch's own.

    Raises:
        TypeError: ``model`` is not a module.

    Example:
        >>> import torch, thinned
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.2))
        >>> thinned.convert(model)
        1 site converted, 0 not
          1: Dropout
    """
    converted = _convert(model)
    converted.report.slower = _slower_devices(model)
    if args or kwargs:
        _complete(converted.report, record(model, *args, **kwargs))
    return converted.report


def _slower_devices(model: nn.Module) -> dict[str, str]:
    """The devices, and dtypes on them, whose dropout plain torch operations compute."""
    slower = {}
    for parameter in model.parameters():
        if parameter.is_floating_point() and parameter.device.type not in {"cpu", "meta"}:
            impl, reason = choice(parameter)
            if impl == "aten":
                slower[str(parameter.device)] = reason
    return slower


def address(
    model: nn.Module, seed: int, *, parts: Parts | PartsOfSite | None = None, clock: int | None = None
) -> ConversionReport:
    """Give every mask of a model an address, so that a run can be repeated, resumed and split.

    The model is converted (:func:`convert`). The mask of a site in training forward number ``n`` of the model, counted
    from 0, is the one at key ``fold_in(seed, site_number(name))`` and call ``n``, with the names of
    :func:`thinned.sites.find`. What has been counted is the buffer ``thinned_clock`` of the model (0-dim int64), which
    is in its state dict; state dicts without it load under ``strict=True``, and leave it as it is. It counts forward
    passes of the model in training mode, or of a part of it that is called by itself; not those that activation
    checkpointing runs again, which get their first masks once more. Torch's generator has no influence on a mask.
    Threads may train a model at the same time, but not a compiled one: its graph counts without a lock, so that two
    passes may get one number, and the same masks.

    With ``parts``, processes that share the work drop what one process would that does all of it. Data-parallel
    training, the batch along axis 0 and cut into equal parts: ``parts={0: (rank, world_size)}``. Where tensors of some
    sites are cut otherwise (time-first sequences, features of a tensor-parallel layer), a function tells the parts by
    the site's name: ``lambda name: {-1: (rank, world_size)} if name == "mlp.drop" else {}``. The same mapping for all
    sites leaves out ``DropConnect`` and ``EmbeddingDropout``, whose masks all processes share.

    Whatever runs beside the model has masks of its own. A copy that another module makes of it in its constructor
    (``torch.optim.swa_utils.AveragedModel``) gets the seed ``fold_in(seed, site_number("copy 1"))``, the next one that
    of ``"copy 2"``, and averaging never sets its clock back. A worker of a ``DataLoader`` gets that of ``"worker 0"``,
    and a clock of its own. Any other copy, such as ``copy.deepcopy`` makes, has the masks of the model: address it with
    another seed. Replicas of ``nn.DataParallel`` do not train: use ``DistributedDataParallel`` with ``parts``.

    A layer of ours whose ``key`` is already set keeps it, and a call of ``thinned.functional`` in the model's own code
    needs its ``key`` and ``call`` as everywhere: without them it draws. Called again, ``address`` sets the seed and
    starts the clock at 0. :func:`thinned.conversion.plain_state_dict` gives weights for a model without ``thinned``.

    Args:
        model: any module.
        seed: 64-bit number that all keys follow from.
        parts: axis of a dropped tensor to (number of this process's part, number of equal parts); attention weights
            have the axes (batch, head, query, key).
        clock: number of training forward passes that have been; None is 0, with a warning where the weights came from
            a folder of ``save_pretrained`` that holds a clock.

    Returns:
        The report of the conversion.

    Raises:
        TypeError: ``model`` is not a module, or ``seed`` not an int.
        ValueError: ``parts`` or ``clock`` is out of range, or a module within ``model`` was converted on its own.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(sentence("seed must be an int", f"got seed={seed!r}"))
    parts, start = check_parts(parts), _first_index(model, clock)
    converted = _convert(model)
    root = converted.root
    converted.parts, converted.worker, converted.copies = parts, None, 0
    converted.marked.clear()
    if converted.least is not None:
        converted.least = torch.tensor(start)
    device = next((p.device for p in root.parameters()), torch.device("cpu"))
    root._buffers.pop(CLOCK, None)
    root.register_buffer(CLOCK, torch.tensor(start, device=device))
    converted.seed = seed
    _wrap(converted)
    return converted.report


def _first_index(model: nn.Module, clock: int | None) -> int:
    """Check the number of the first pass; warn where it is not given, and the weights' folder holds another."""
    if clock is not None and (isinstance(clock, bool) or not isinstance(clock, int) or clock < 0):
        raise ValueError(sentence("clock must be an int that is not negative", f"got clock={clock!r}"))
    folder = getattr(model, "name_or_path", None)
    if clock is None and (saved := saved_clock(folder)):
        warnings.warn(
            f"the clock starts at 0, and the weights in {folder} were saved with a clock of {saved}: "
            f"masks repeat; pass clock={saved} to go on from there, or clock=0",
            stacklevel=3,
        )
    return clock or 0


def override_sites(model: nn.Module, overrides: Mapping[str, SiteOverride]) -> ConversionReport:
    """Give single dropout sites other rates, and masks of another form, than the model's code says.

    The model is converted (:func:`convert`). Sites are named as by :func:`thinned.sites.find`, so that each mask of a
    layer that is called several times, and each ``F.dropout`` of a forward, has a rate of its own. The masks of an
    addressed model keep their addresses: at a higher rate a site drops what it drops at a lower one, and more.
    Attributes of the model stay as they are. Called again, the new overrides take the place of all earlier ones.

    Args:
        model: any module.
        overrides: by the name of a site, what it does; a name that no pass reaches has no effect. The masks between
            the layers of a recurrent module have one rate, that of the first.

    Returns:
        The report of the conversion.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: a rate lies outside [0, 1], or a module within ``model`` was converted on its own.
    """
    for override in overrides.values():
        if not isinstance(override.rate, torch.Tensor):  # a tensor's is checked where it is read
            check_p(override.rate)
    converted = _convert(model)
    converted.overrides = dict(overrides)
    _wrap(converted)
    return converted.report


def plain_state_dict(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict without clocks of addressed models: it loads into the plain model, without ``thinned``.

    Args:
        model: any module, addressed, part of an addressed model, or around one.

    Returns:
        ``model.state_dict()`` without its entries named ``thinned_clock``. To resume a run, save ``state_dict()``.
    """
    return {name: value for name, value in model.state_dict().items() if name.rpartition(".")[2] != CLOCK}


def wrap_layers(model: nn.Module) -> None:
    """Let a converted or addressed model see layers that came into it, or went, since; any other stays as it is.

    Args:
        model: any module.
    """
    for module in model.modules():
        if (wrapper := wrapper_of(module)) is not None:
            _wrap(wrapper.model)
            return


def _convert(model: nn.Module) -> ConvertedModel:
    converted = _converted_model(model)
    for name, module in named(converted.root):
        _convert_module(name, module, converted.report)
    _wrap(converted)
    return converted


def _converted_model(model: nn.Module) -> ConvertedModel:
    """Return the state that the wrappers of a model share; make it where there is none."""
    if not isinstance(model, nn.Module):
        raise TypeError(sentence("model must be a torch.nn.Module", f"got {type(model).__name__}"))
    if type(model).__name__ == "OptimizedModule" and isinstance(compiled := model._modules["_orig_mod"], nn.Module):
        model = compiled  # what torch.compile has wrapped
    wrapper = wrapper_of(model)
    if wrapper is not None and wrapper.model.root is model:
        return wrapper.model
    for name, module in model.named_modules():
        if wrapper_of(module) is not None:
            raise ValueError(
                sentence(
                    "a model must be converted or addressed as a whole",
                    f"its part {name or 'itself'} was converted before, on its own",
                    "convert the outermost model only",
                )
            )
    return ConvertedModel(model)


def _convert_module(name: str, module: nn.Module, report: ConversionReport) -> None:
    original = original_class(module)
    ours = _LAYERS.get(original)
    if isinstance(module, torch.jit.ScriptModule):
        report.unconverted[name] = "TorchScript can't be looked into"
    elif (
        original is nn.Sequential and "forward" not in module.__dict__ and is_sub_network(cast("nn.Sequential", module))
    ):
        report.sub_networks.append(name)
        module.__class__ = layers.ThinnedMLP
    elif ours is not None:
        report.converted[name] = original.__name__
        module.__class__ = ours  # the same object: hooks, flags and whoever refers to it see no change
        register_address(module)
    elif (
        issubclass(original, TORCH_DROPOUTS)
        and not issubclass(original, Addressed)
        and original.forward not in {base.forward for base in _LAYERS}
    ):
        report.unconverted.setdefault(
            name, f"{original.__name__} has a forward of its own; torch functions that it calls are taken over"
        )


def _wrap(converted: ConvertedModel) -> None:
    """Wrap the forward of every module that may drop, and compute the keys of addressed ones."""
    converted.wrappers = []
    for name, module in named(converted.root):
        if wrapper_of(module) is None and _may_drop(module, converted):
            route(module, ForwardWrapper(module, name, converted, is_layer=isinstance(module, Addressed)))
        if (wrapper := wrapper_of(module)) is not None:
            converted.wrappers.append(wrapper)
            if converted.seed is not None:
                wrapper.precompute_keys()


def _may_drop(module: nn.Module, converted: ConvertedModel) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        return False
    if isinstance(module, Addressed):
        return converted.seed is not None or bool(converted.overrides)
    own_code = not type(module).__module__.startswith(("torch.nn.modules.", "thinned."))
    return own_code or module is converted.root or isinstance(module, (nn.MultiheadAttention, nn.RNNBase))


def _complete(report: ConversionReport, recording: Recording) -> None:
    for site in recording.sites:
        if site.name not in report.unconverted:
            report.converted.setdefault(site.name, site.op)
    for op in recording.noise:
        report.unconverted.setdefault(
            f"{op.module}:{op.name}", f"{op.name} is the model's own random number, not a dropout of torch's"
        )
