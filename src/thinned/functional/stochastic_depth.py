"""Stochastic depth whose dropped work is not done, for samples (residual branches) or for the batch (layers)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from thinned.errors import sentence
from thinned.functional.elementwise import checked_rate, dropout
from thinned.functional.selection import can_select, select
from thinned.functional.structured import drop_path
from thinned.ops import torch_private

__all__ = ["Branch", "add_kept", "batch_norm_in", "layer_drop", "stochastic_depth"]

Branch = Callable[[torch.Tensor], torch.Tensor]


def stochastic_depth(
    input: torch.Tensor,
    branch: Branch,
    p: float | torch.Tensor = 0.5,
    training: bool = True,
    scale_by_keep: bool = True,
    *,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """``input + drop_path(branch(input))``, the branch computed for the kept samples only (Huang et al. 2016).

    Decisions, scaling and sum are those of :func:`drop_path` at the same address. Only the products inside the branch,
    of fewer rows, may be rounded otherwise. A module does not run where no sample is kept, and its parameters get
    gradients of zeros, so that momentum, weight decay and data-parallel training go on as with masks. A function then
    runs on 0 rows, to the same end, and so does a module with sharded parameters, whose processes wait for each other.

    The branch must treat each sample by itself, and not overwrite its input: one that begins with
    ``ReLU(inplace=True)`` also changes what a masked branch is added to, and is refused here (but not in a compiled
    graph). Dropout inside it numbers the rows that it gets: its masks have the distribution of the masked form, but
    belong to other samples. ``torch.compile`` breaks the graph at the number of kept samples, and compiles the branch
    for any number of them; there is no break, so that ``fullgraph=True`` works, where
    ``torch._dynamo.config.capture_dynamic_output_shape_ops`` is True. ``torch.func``, ``torch.export`` and
    ``torch.jit.trace`` can't leave out rows: under them, the branch runs on all samples and is masked.

    Args:
        input: ``(N, ...)``.
        branch: module or function from ``(n, ...)`` to the same shape.
        p: probability of dropping a sample's branch, in [0, 1].
        training: False returns ``input + branch(input)``.
        scale_by_keep: scale kept branches by 1 / (1 − p); False leaves them as they are.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        ValueError: ``p`` lies outside [0, 1], or a batch norm in the branch computes statistics of the batch, which
            would be those of the kept samples.
        RuntimeError: the branch changes the shape, or its input.

    Example:
        >>> import torch, thinned
        >>> thinned.functional.stochastic_depth(torch.ones(4), lambda x: 3 * x, p=0.5, key=20)
        tensor([7., 1., 7., 1.])
    """
    p = checked_rate(p)
    if not training or (not isinstance(p, torch.Tensor) and p == 0):
        return input + branch(input)
    if not can_select(p, key):
        _check_branch([branch] if isinstance(branch, nn.Module) else [])
        return input + drop_path(branch(input), p, True, scale_by_keep, key=key, call=call)
    # on the CPU, whatever the device of input: the number of kept samples is known without waiting for a device
    dtype = torch.float64 if input.dtype is torch.float64 else torch.float32
    ones = torch.ones((input.shape[0], *(1,) * (input.ndim - 1)), dtype=dtype)
    with torch.no_grad():
        factors = drop_path(ones, p, True, scale_by_keep, key=key, call=call)
    return add_kept(input, branch, factors.flatten())


def add_kept(
    input: torch.Tensor, branch: Branch, factors: torch.Tensor, parts: Sequence[object] | None = None
) -> torch.Tensor:
    """``input + factors · branch(input)``, the branch computed for the samples whose factor is not 0.

    Args:
        input: ``(N, ...)``.
        branch: module or function from ``(n, ...)`` to the same shape.
        factors: ``(N,)``, on any device.
        parts: modules and parameters that the branch consists of (other objects don't count); None: it is itself a
            module, or unknown, so that it runs on 0 rows where no sample is kept.
    """
    known = parts is not None or isinstance(branch, nn.Module)
    parts = [branch] if parts is None else parts
    modules = [part for part in parts if isinstance(part, nn.Module)]
    _check_branch(modules)
    index, scales = select(factors, input.device)
    if known and not torch_private.captures_sizes() and index.shape[0] == 0:
        tensors = [part for part in parts if isinstance(part, nn.Parameter)]
        tensors += [parameter for module in modules for parameter in module.parameters()]
        if not _sharded(modules):
            return _unused(input, tensors)
    kept = input.index_select(0, index)
    version = None if torch.compiler.is_compiling() or kept.is_inference() else kept._version
    rows = branch(kept)
    if version is not None and kept._version != version:
        raise RuntimeError(
            sentence(
                "a branch that runs on the kept samples must not overwrite its input, a copy of their rows",
                "it did in place",
                "give its first operations inplace=False",
            )
        )
    if rows.shape != kept.shape:
        raise RuntimeError(
            sentence(
                "a residual branch must keep the shape of its input, sample by sample",
                f"it returned {tuple(rows.shape)} for {tuple(kept.shape)}",
            )
        )
    rows = (rows * scales.view(-1, *(1,) * (input.ndim - 1))).to(rows.dtype)
    dtype = torch.promote_types(input.dtype, rows.dtype)
    return torch_private.add_rows(input.to(dtype), index, rows.to(dtype))


def batch_norm_in(branch: nn.Module) -> str | None:
    """The name of a batch norm that computes statistics of the batch, as ``name (class)``; None where there is none."""
    for name, module in branch.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
            return f"{name or 'it'} ({type(module).__name__})"
    return None


def _check_branch(modules: Sequence[nn.Module]) -> None:
    for module in modules:
        if (found := batch_norm_in(module)) is not None:
            raise ValueError(
                sentence(
                    "a branch that runs on the kept samples must treat each sample by itself",
                    f"{found} computes statistics of the batch",
                    "use DropPath, which masks, or another norm, or put the batch norm into eval()",
                )
            )


def _sharded(modules: Sequence[nn.Module]) -> bool:
    """Tell that other processes wait until the branch runs here: it gathers its parameters from all of them."""
    return any(
        any(type(parameter) is not nn.Parameter for parameter in module.parameters())
        or any(type(part).__name__.endswith("FullyShardedDataParallel") for part in module.modules())
        for module in modules
    )


def layer_drop(
    input: torch.Tensor,
    layer: nn.Module,
    p: float | torch.Tensor = 0.2,
    training: bool = True,
    args: Sequence[object] = (),
    kwargs: Mapping[str, object] | None = None,
    *,
    key: int | torch.Tensor | None = None,
    call: int | torch.Tensor = 0,
) -> torch.Tensor:
    """``layer(input)``, or ``input`` where the layer is dropped for the whole mini-batch (LayerDrop: Fan et al. 2020).

    Nothing is scaled, as in the paper: the expected output is ``(1 - p) layer(input) + p input``, and evaluation, with
    ``layer(input)``, goes further from the input than training did on average. The layer does not run where it is
    dropped; its parameters, and tensors in ``args`` and ``kwargs``, then get gradients of zeros. A layer of sharded
    parameters runs, since other processes wait for it, and is masked; so does one under ``torch.func``,
    ``torch.export`` and ``torch.jit.trace``. ``torch.compile`` breaks the graph at the decision, or masks where
    ``torch._dynamo.config.capture_dynamic_output_shape_ops`` is True.

    Args:
        input: ``(N, ...)``.
        layer: module, its shortcut included, from ``input`` (and ``args``, ``kwargs``) to one tensor of its shape.
        p: probability of dropping the layer, in [0, 1].
        training: False runs the layer.
        args: further positional arguments of the layer.
        kwargs: its keyword arguments.
        key: 64-bit key; None draws one.
        call: number of the training forward pass.

    Raises:
        ValueError: ``p`` lies outside [0, 1].
        RuntimeError: the layer returns something else than a tensor of the input's shape.
    """
    p, kwargs = checked_rate(p), kwargs or {}
    if not training or (not isinstance(p, torch.Tensor) and p == 0):
        return _layer_output(input, layer(input, *args, **kwargs))
    skips = can_select(p, key) and not _sharded([layer]) and not torch_private.captures_sizes()
    with torch.no_grad():
        # a row that all samples share; where the layer may be skipped, on the CPU: nobody waits for a device
        ones = torch.ones((1, 1), dtype=torch.float32, device="cpu" if skips else input.device)
        keeps = (dropout(ones, p, shared=(0,), key=key, call=call) != 0).view(())
    if not skips:
        return torch.where(keeps, _layer_output(input, layer(input, *args, **kwargs)), input)
    if keeps:
        return _layer_output(input, layer(input, *args, **kwargs))
    given = [leaf for leaf in tree_leaves([args, dict(kwargs)]) if isinstance(leaf, torch.Tensor)]
    return _unused(input, [*layer.parameters(), *given])


def _layer_output(input: torch.Tensor, output: object) -> torch.Tensor:
    """Check what a layer returns, in whose place its input may stand."""
    if isinstance(output, torch.Tensor) and output.shape == input.shape:
        return output
    got = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    requirement = f"a layer that may be dropped must return a tensor of its input's shape {tuple(input.shape)}"
    raise RuntimeError(sentence(requirement, f"got {got}"))


def _unused(input: torch.Tensor, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """A copy of the input; tensors that took no part get gradients of zeros."""
    used = [tensor for tensor in tensors if tensor.requires_grad]
    return _Unused.apply(input, *used)  # type: ignore[no-any-return, no-untyped-call]


class _Unused(torch.autograd.Function):
    """A copy of the first argument; the others take no part."""

    @staticmethod
    def forward(ctx: torch_private.Context, input: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        ctx.parameters = parameters
        return input.clone()

    @staticmethod
    def jvp(ctx: torch_private.Context, tangent: torch.Tensor, *_: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG004 (torch gives it)
        return tangent.clone()

    @staticmethod
    def backward(ctx: torch_private.Context, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (*grads, *(torch.zeros_like(parameter) for parameter in ctx.parameters))
