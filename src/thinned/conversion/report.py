"""The result of a conversion: which dropout sites are ours, and why the others are not."""

__all__ = ["ConversionReport"]


class ConversionReport:
    """Which dropout sites of a model were converted, and why the others were not.

    Functional sites are added as the model runs.

    Attributes:
        converted: site name to the class or function that dropped there before.
        unconverted: site name to the reason.
        sub_networks: names of ``nn.Sequential`` that became :class:`thinned.ThinnedMLP`.
        slower: device of the model to the reason why dropout there is slower than torch's own.
    """

    def __init__(self) -> None:
        self.converted: dict[str, str] = {}
        self.unconverted: dict[str, str] = {}
        self.sub_networks: list[str] = []
        self.slower: dict[str, str] = {}

    def __repr__(self) -> str:
        converted = len(self.converted)
        lines = [f"{converted} site{'s' * (converted != 1)} converted, {len(self.unconverted)} not"]
        lines += [f"  {name or '(the model)'}: {kind}" for name, kind in self.converted.items()]
        lines += [f"  NOT CONVERTED {name or '(the model)'}: {reason}" for name, reason in self.unconverted.items()]
        lines += [f"  COMPUTED AT ITS REAL SIZE {name or '(the model)'}: Sequential" for name in self.sub_networks]
        lines += [f"  SLOWER THAN TORCH on {device}: {reason}" for device, reason in self.slower.items()]
        return "\n".join(lines)
