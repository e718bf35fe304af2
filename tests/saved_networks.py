"""A description of a saved network, and a network that fits it, for tests of what a study leaves."""

from collections.abc import Callable

import torch
from torch import nn

from thinned.studies.design.own_network.network_design import Identities
from thinned.studies.design.own_network.site_groups import NetworkSite
from thinned.studies.design.setting import Setting
from thinned.studies.recommended_network.metadata import NetworkMetadata

ABOUT = NetworkMetadata(
    network="saved_networks:Plain",
    importable=True,
    arm="dropout",
    label="dropout 0.25",
    setting=Setting(dropout=0.25),
    rates={"drop": 0.25},
    sites=(NetworkSite("drop", "module", "fully connected", 0.5, (2, 4)),),
    inserted={},
    train=None,
    epochs=2,
    budget=4,
    batch_size=16,
    learning_rate=1e-3,
    training={"optimizer": "adamw", "patience": None},
    seed=1,
    task="multiclass",
    classes=("0", "1"),
    examples=60,
    data="0" * 64,
    identities=Identities(),
    plan="0" * 16,
    versions={"torch": "2"},
)
X = torch.linspace(-1, 1, 12).view(3, 4)


class Plain(nn.Module):
    """A hidden layer with batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.last = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.last(self.drop(self.norm(self.first(x)).relu())))


def trained(build: Callable[[], nn.Module]) -> nn.Module:
    """A network whose whole state differs from that of a fresh one."""
    torch.manual_seed(3)
    network = build()
    network(X)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.add_(1 if tensor.dtype == torch.int64 else 0.5)
    if hasattr(network, "seen"):
        network.seen = torch.ones(3)  # a buffer of another length
    return network.eval()
