"""Correct models of other libraries, small, in which ``benchmarks/audit_recall.py`` plants mistakes."""

import copy
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from audit_models import LIBRARIES, Build, hugging_face_model, timm_model
from torch import nn

from thinned.tracing.tensor_map import output_tensors, tensors

__all__ = ["Call", "Host", "hosts"]

TRANSFORMERS = (
    *("BertForSequenceClassification", "DistilBertForSequenceClassification", "BartModel", "ViTForImageClassification"),
    *("GPT2Model", "RobertaForTokenClassification", "ElectraForSequenceClassification", "T5EncoderModel", "OPTModel"),
    *("ConvNextForImageClassification", "DeiTForImageClassification", "MPNetForTokenClassification", "XGLMModel"),
    *("GPTNeoXForTokenClassification", "SwinForImageClassification", "BloomForTokenClassification", "PegasusModel"),
    *("ResNetForImageClassification", "FNetForSequenceClassification", "CanineForTokenClassification", "BeitModel"),
    *("RemBertForTokenClassification", "LayoutLMForTokenClassification", "MarianModel", "MBartModel", "CTRLModel"),
    *(
        "ConvBertForTokenClassification",
        "SplinterModel",
        "XLMRobertaForTokenClassification",
        "ErnieModel",
        "BioGptModel",
    ),
    *("RoFormerForTokenClassification", "NystromformerForTokenClassification", "YolosModel", "ViTMSNModel", "LEDModel"),
    *("BigBirdForTokenClassification", "MegatronBertForTokenClassification", "Data2VecTextForTokenClassification"),
)
OTHERS = (
    ("vit_pytorch", "vit.ViT"),
    ("torch_geometric", "MLP"),
    ("timm", "mobilenetv3_small_050"),
    ("vit_pytorch", "cait.CaiT"),
    ("torch_geometric", "GCN-batch_norm"),
    ("torchvision", "resnet18"),
    ("vit_pytorch", "deepvit.DeepViT"),
    ("monai", "UNet-2d"),
    ("open_clip", "CLIP-plain"),
    ("vit_pytorch", "cct.CCT"),
    ("segmentation_models_pytorch", "Unet-resnet18"),
    ("torch_geometric", "GraphSAGE-None"),
    ("monai", "TransformerBlock"),
    ("vit_pytorch", "xcit.XCiT"),
    ("torchvision", "shufflenet_v2_x0_5"),
    ("vit_pytorch", "parallel_vit.ViT"),
    ("monai", "FullyConnectedNet"),
    ("monai", "Classifier"),
    ("vit_pytorch", "simple_vit_with_patch_dropout.SimpleViT"),
    ("torchvision", "squeezenet1_1"),
    ("timm", "ghostnet_050"),
    ("torch_geometric", "GIN-batch_norm"),
    ("vit_pytorch", "mobile_vit.MobileViT"),
    ("monai", "ViT"),
    ("torchvision", "mnasnet0_5"),
    ("torch_geometric", "PNA-layer_norm"),
    ("monai", "AutoEncoder"),
    ("timm", "lcnet_035"),
    *(("timm", name) for name in ("tinynet_e", "mobilenetv2_035", "fbnetc_100", "mixnet_s", "regnetx_002", "dla46_c")),
    *(("timm", name) for name in ("resnet10t", "mnasnet_small", "spnasnet_100", "semnasnet_075", "regnety_002")),
    *(("segmentation_models_pytorch", f"{name}-resnet18") for name in ("FPN", "Linknet", "MAnet", "PAN")),
    *(("torchvision", name) for name in ("mobilenet_v2", "mobilenet_v3_small", "resnet34", "regnet_y_400mf")),
    *(("torch_geometric", name) for name in ("GCN-layer_norm", "GAT-batch_norm", "EdgeCNN-batch_norm")),
    *(
        ("vit_pytorch", name)
        for name in ("pit.PiT", "nest.NesT", "cvt.CvT", "levit.LeViT", "vit_1d.ViT", "vivit.ViViT")
    ),
    *(("monai", name) for name in ("BasicUNet", "DynUNet", "SegResNet", "VNet", "HighResNet", "DenseNet", "QuickNAT")),
)


class Call(NamedTuple):
    """The calls of a module in a training pass.

    Attributes:
        times: their number.
        given: shape of the first tensor that the first call takes; None without one.
        result: shape of the tensor that it returns; None for anything else.
        is_output: True if that tensor is the first output of the model.
        arguments: the arguments of the first call.
    """

    times: int
    given: tuple[int, ...] | None
    result: tuple[int, ...] | None
    is_output: bool
    arguments: tuple[tuple[Any, ...], dict[str, Any]]


class Host(NamedTuple):
    """A model, its inputs, and the calls of its modules by name."""

    name: str
    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    calls: dict[str, Call]


def hosts() -> Iterator[Host]:
    """The models, those of several libraries in turn."""
    builds = [*((name, transformer(name)) for name in TRANSFORMERS)]
    known = {library: dict(LIBRARIES[library]()) for library in dict(OTHERS) if library != "timm"}
    known["timm"] = {name: partial(timm_model, name) for library, name in OTHERS if library == "timm"}
    others = [(f"{library} {name}", known[library][name]) for library, name in OTHERS if name in known[library]]
    mixed = [pair for both in zip(builds, others, strict=False) for pair in both]
    for name, build in mixed + others[len(builds) :] + builds[len(others) :]:
        torch.manual_seed(0)
        try:
            model, args, kwargs = build()
            host = Host(name, model.train(), args, kwargs, calls_of(model, args, kwargs))
        except Exception as error:  # noqa: BLE001 - another version of the library
            sys.stderr.write(f"{name} can't be built: {type(error).__name__}\n")
            continue
        yield host


def transformer(name: str) -> Build:
    """A builder of a model of transformers whose attention computes its weights one after the other."""

    def build() -> Any:
        import transformers  # noqa: PLC0415

        cls = getattr(transformers, name)
        model, args, kwargs = hugging_face_model(cls, cls.config_class)
        model.set_attn_implementation("eager")
        return model, args, kwargs

    return build


def calls_of(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Call]:
    """The calls of each module of a model."""
    calls: dict[str, Call] = {}
    results: dict[str, torch.Tensor] = {}
    arguments: dict[str, Any] = {}
    handles = []
    for name, module in model.named_modules():

        def before(_: Any, args: Any, kwargs: Any, name: str = name) -> None:
            if name not in arguments:
                arguments[name] = copy.deepcopy((args, kwargs))  # before the call adds to a cache

        def hook(_: Any, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
            given = next(iter(tensors((args, kwargs))), None)
            is_tensor = isinstance(output, torch.Tensor)
            if is_tensor:
                results[name] = output
            earlier = calls.get(name)
            calls[name] = Call(
                1 + (earlier.times if earlier else 0),
                None if given is None else tuple(given.shape),
                tuple(output.shape) if is_tensor else None,
                False,
                arguments[name],
            )

        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(hook, with_kwargs=True))
    with torch.no_grad():
        first = output_tensors(model(*args, **kwargs))[0]
    for handle in handles:
        handle.remove()
    return {name: call._replace(is_output=results.get(name) is first) for name, call in calls.items()}
