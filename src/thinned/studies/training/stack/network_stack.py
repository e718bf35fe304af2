"""Networks that differ in rates alone, as one program: their parameters and buffers are stacked."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from thinned.conversion import SiteOverride
from thinned.conversion.clock import CLOCK
from thinned.conversion.member_rates import member_rates
from thinned.studies.training.loop.fit import load_state

__all__ = ["NetworkStack"]

_State = dict[str, torch.Tensor]


class NetworkStack:
    """Members of one split: equal initial weights, equal masks at equal rates, and rates of their own.

    All members see the same examples, so that an input has no axis of members.

    Args:
        network: freshly made, on the device; it becomes the stack's own. Its sites are overridden.
        overrides: what each site does in each member, by its name; a site has one form in all members.

    Attributes:
        size: number of members.
        parameters: by qualified name, each with a leading axis of members.
        buffers: the same of buffers, but for the clock, which all members share.
    """

    def __init__(self, network: nn.Module, overrides: Sequence[Mapping[str, SiteOverride]]) -> None:
        self._network, self.size = network, len(overrides)
        self.parameters = {
            name: nn.Parameter(self._stacked(value), requires_grad=value.requires_grad)
            for name, value in network.named_parameters()
        }
        self.buffers = {n: self._stacked(v) for n, v in network.named_buffers() if n.rpartition(".")[2] != CLOCK}
        device = next((p.device for p in self.parameters.values()), torch.device("cpu"))
        rates = {name: [float(member[name].rate) for member in overrides] for name in overrides[0]}
        #: of the sites whose rates differ; the others have that of the network
        self._rates = {
            name: torch.tensor(each, dtype=torch.float64, device=device)
            for name, each in rates.items()
            if len(set(each)) > 1
        }

    def _stacked(self, value: torch.Tensor) -> torch.Tensor:
        return value.detach().expand(self.size, *value.shape).clone()

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that have gradients."""
        return [value for value in self.parameters.values() if value.requires_grad]

    @property
    def state(self) -> _State:
        """Parameters and buffers by qualified name, each with a leading axis of members."""
        return {**self.parameters, **self.buffers}

    @property
    def clock(self) -> torch.Tensor:
        """Number of training forward passes, 0-dim int64, which all members share."""
        return self._network.get_buffer(CLOCK)

    @torch.no_grad()
    def load(self, state: Mapping[str, torch.Tensor], clock: torch.Tensor) -> None:
        """Take a state that :attr:`state` and :attr:`clock` gave."""
        for name, parameter in self.parameters.items():
            parameter.copy_(state[name])
        self.buffers = {name: state[name].clone() for name in self.buffers}
        self.clock.copy_(clock)

    def train(self) -> None:
        """Put the members in training mode."""
        self._network.train()

    def losses(self, loss: Callable[[Callable[..., object]], torch.Tensor]) -> torch.Tensor:
        """Run a function of one member's network for all members as one program; buffers are updated.

        Args:
            loss: takes the network, which it calls, and returns a 0-dim tensor.

        Returns:
            ``(members,)``.
        """

        def member(parameters: _State, buffers: _State, rates: _State) -> tuple[torch.Tensor, _State]:
            state = {**parameters, **buffers}

            def network(*args: torch.Tensor, **kwargs: torch.Tensor) -> object:
                return torch.func.functional_call(self._network, state, args, kwargs)

            with member_rates(self._network, rates):
                value = loss(network)
            return value, {name: state[name] for name in buffers}

        # "same": what a network draws besides its masks follows from the split and the step, as without a stack
        run = torch.func.vmap(member, randomness="same")
        parameters: _State = {**self.parameters}
        values, buffers = run(parameters, self.buffers, self._rates)
        self.buffers = {name: value.detach() for name, value in buffers.items()}
        return values

    def member(self, number: int, state: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
        """The network of one member in evaluation mode, until another one is asked for.

        Args:
            number: of the member.
            state: of all members; None takes the present one.
        """
        state = self.state if state is None else state
        load_state(self._network, {name: value[number] for name, value in state.items()})
        return self._network.eval()
