"""The results of a recorded pass: dropout sites, and what stands before and behind each."""

from typing import NamedTuple

from torch import nn

__all__ = ["Op", "Recording", "Site", "site_name"]


class Op(NamedTuple):
    """Something that makes or takes a tensor: a leaf module, or a function called in a module's forward.

    Attributes:
        module: qualified name of the module, "" for the model itself.
        name: class of the leaf module, or name of the function.
    """

    module: str
    name: str


class Site(NamedTuple):
    """One place where a model drops.

    Attributes:
        name: qualified name of the module whose forward drops; its second and later masks in one forward pass of the
            model are ``name#1``, ``name#2`` … Its number, :func:`thinned.philox.site_number`, makes the key.
        kind: "module" (a dropout module), "functional", "attention" (dropout on attention weights) or "rnn" (between
            the layers of a recurrent module).
        op: class of the dropout module, or name of the torch function.
        p: probability of dropping; 0 where dropout is possible and switched off.
        active: False where the call itself asks for no dropout although the model trains.
        shape: shape of the dropped tensor; attention weights are (batch, heads, queries, keys).
        producer: the op that made the dropped tensor; None for an input of the model.
        consumers: the ops that took the dropped tensor, in order of time, views looked through; empty for an output.
        module: the module that ``name`` names.
    """

    name: str
    kind: str
    op: str
    p: float
    active: bool
    shape: tuple[int, ...]
    producer: Op | None
    consumers: tuple[Op, ...]
    module: nn.Module

    @property
    def consumer(self) -> Op | None:
        """The op that took the dropped tensor first."""
        return self.consumers[0] if self.consumers else None


class Recording(NamedTuple):
    """The result of a recorded pass.

    Attributes:
        sites: dropout sites in order of the calls.
        noise: functions that the model calls to draw random numbers of its own.
    """

    sites: tuple[Site, ...]
    noise: tuple[Op, ...]


def site_name(path: str, ordinal: int) -> str:
    """The name of the mask number ``ordinal`` that the module at ``path`` draws in one forward pass."""
    return f"{path}#{ordinal}" if ordinal else path
