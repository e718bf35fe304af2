"""What a saved network says of itself: ``setting.json``."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from thinned.errors import InputError, sentence
from thinned.studies.design.own_network.network_design import Identities
from thinned.studies.design.own_network.site_groups import NetworkSite
from thinned.studies.design.setting import Setting
from thinned.studies.training.apply_setting import site_overrides

__all__ = ["CODE", "METADATA", "WEIGHTS", "InsertedClass", "Loading", "NetworkMetadata", "rates_of", "read_metadata"]

WEIGHTS, METADATA, CODE = "weights.safetensors", "setting.json", "build.py"

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=10**15)]
Value: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
Rate: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
#: class of dropout that is put before a layer
InsertedClass: TypeAlias = Literal["Dropout", "Dropout1d", "Dropout2d", "Dropout3d"]
#: function that gives a fresh network the weights: torch's, that of safetensors where tensors are shared, or ours where
#: a state dict does not hold the whole state
Loading: TypeAlias = Literal["load_state_dict", "load_model", "load_network"]


class NetworkMetadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What there is to know of a saved network besides its weights.

    Attributes:
        schema: the version of this description.
        network: "module:function" of the function that builds it.
        importable: True where that is a path from which the function can be imported.
        arm: name of the arm that the study recommends.
        label: its setting in words.
        setting: how it was regularised.
        rates: the rate of each dropout site, by its name.
        sites: the dropout sites whose rates the study varied.
        inserted: classes of dropout that were put before layers of a network that had none, by the layer's name.
        train: "module:function" of the user's function that trained it; None where the study did.
        epochs: number of epochs that it was trained for; None where that function chose.
        budget: number of epochs over which the schedule of the learning rate runs.
        batch_size: examples of a step.
        learning_rate: of the first step.
        training: other values of the training's configuration, by name.
        seed: what initial weights, order, augmentation and masks follow from.
        task: what is predicted.
        classes: names of the classes that occur in the examples; empty where an example has not one class.
        examples: number of examples that it was trained on: all, or four fifths where a function of the user's
            may have stopped by the others.
        data: SHA-256 that identifies the examples.
        identities: digests of the callables.
        plan: digest of the study's plan.
        versions: of the packages that trained it, and the instruction set.
        loading: what gives a fresh network these weights.
        weights: SHA-256 of the file of weights.
    """

    schema: Literal[1] = 1
    network: str
    importable: bool
    arm: str
    label: str
    setting: Setting
    rates: dict[str, Rate]
    sites: tuple[NetworkSite, ...]
    inserted: dict[str, InsertedClass]
    train: str | None
    epochs: Count | None
    budget: Count
    batch_size: Count
    learning_rate: Value
    training: dict[str, str | int | Value | None]
    seed: Annotated[int, msgspec.Meta(ge=0)]
    task: str
    classes: tuple[str, ...]
    examples: Count
    data: str
    identities: Identities
    plan: str
    versions: dict[str, str]
    loading: Loading = "load_state_dict"
    weights: str = ""

    def __post_init__(self) -> None:
        """Refuse rates that do not follow from the setting, and more epochs than the budget has."""
        if self.rates != rates_of(self.setting, self.sites):
            raise ValueError("the rates of the sites are not those of the setting")
        if self.epochs is not None and self.epochs > self.budget:
            raise ValueError(f"{self.epochs} epochs are more than the budget of {self.budget}")


def rates_of(setting: Setting, sites: tuple[NetworkSite, ...]) -> dict[str, float]:
    """The rate of each site under a setting."""
    return {name: float(override.rate) for name, override in site_overrides(setting, sites).items()}


def read_metadata(path: Path) -> NetworkMetadata:
    """Read ``setting.json``.

    Raises:
        InputError: it does not describe a network.
        OSError: it can't be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=NetworkMetadata)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        value, remedy = f"its content is another: {error}", "run the study again with a new --out"
        raise InputError(sentence(f"{path} must describe a saved network", value, remedy)) from None
