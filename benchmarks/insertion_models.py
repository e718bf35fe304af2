"""Feed-forward and convolutional networks with random weights, for ``benchmarks/insertion.py``."""

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

__all__ = ["Network", "networks"]

IMAGES = (2, 3, 64, 64)

TIMM = (
    *("resnet18", "resnet26d", "seresnet18", "resnext26ts", "wide_resnet50_2", "resnetv2_50", "res2net50_14w_8s"),
    *("resnest14d", "skresnet18", "densenet121", "dla34", "vgg11_bn", "mobilenetv2_050", "mobilenetv3_small_050"),
    *("efficientnet_b0", "mnasnet_small", "tinynet_e", "lcnet_050", "ghostnet_050", "hardcorenas_a", "rexnet_100"),
    *("regnetx_002", "regnety_002", "repvgg_a0", "cspresnet50", "darknet53", "ese_vovnet19b_dw", "selecsls42b"),
    *("convnext_atto", "convnextv2_atto", "inception_v3", "xception41", "dpn48b", "hrnet_w18_small", "nfnet_l0"),
    *("poolformer_s12", "mixer_s32_224", "resmlp_12_224", "gmlp_ti16_224"),
)
FIXED_SIZE = {"inception_v3": 96, "mixer_s32_224": 224, "resmlp_12_224": 224, "gmlp_ti16_224": 224}
SEGMENTATION = ("Unet", "UnetPlusPlus", "FPN", "Linknet", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN", "MAnet")
TORCHVISION = (
    *("alexnet", "vgg11", "googlenet", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "efficientnet_v2_s"),
    *("mobilenet_v2", "regnet_y_400mf", "convnext_tiny"),
)
TORCHVISION_SEGMENTATION = ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")


class Network(NamedTuple):
    """A network and an example batch."""

    library: str
    name: str
    build: Callable[[], nn.Module]
    example: Callable[[], torch.Tensor]


def networks() -> Iterator[Network]:
    """Networks of all libraries that can be imported."""
    yield from own()
    if present("torchvision"):
        declare_operators()
        yield from torchvision_networks()
        if present("timm"):
            for name in TIMM:
                yield Network("timm", name, partial(timm_network, name), images(FIXED_SIZE.get(name, 64)))
        if present("segmentation_models_pytorch"):
            for name in SEGMENTATION:
                encoder = "resnet18" if name != "PAN" else "mobilenet_v2"
                yield Network("segmentation models", name, partial(segmentation_network, name, encoder), images(128))
    if present("transformers"):
        yield from transformers_networks()


def present(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def images(size: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randn(2, 3, size, size)


def declare_operators() -> None:
    """Declare two operators of torchvision that its import needs and no network here.

    Its compiled ones, built with CUDA, do not load beside a torch that is built for processors alone.
    """
    try:
        import torchvision  # noqa: F401, PLC0415
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def timm_network(name: str) -> nn.Module:
    import timm  # noqa: PLC0415

    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=10)
    return model


def segmentation_network(name: str, encoder: str) -> nn.Module:
    import segmentation_models_pytorch as smp  # noqa: PLC0415

    model: nn.Module = getattr(smp, name)(encoder, encoder_weights=None, classes=2)
    return model


def torchvision_networks() -> Iterator[Network]:
    import torchvision.models as tv  # noqa: PLC0415

    for name in TORCHVISION:
        options = {"init_weights": False} if name == "googlenet" else {}
        build = partial(getattr(tv, name), weights=None, num_classes=10, **options)
        yield Network("torchvision", name, build, images(96))
    for name in TORCHVISION_SEGMENTATION:
        build = partial(getattr(tv.segmentation, name), weights=None, weights_backbone=None, num_classes=3)
        yield Network("torchvision", name, build, images(96))
    video = partial(tv.video.r3d_18, weights=None, num_classes=4)
    yield Network("torchvision", "r3d_18", video, lambda: torch.randn(2, 3, 4, 32, 32))


def transformers_networks() -> Iterator[Network]:
    import transformers as hf  # noqa: PLC0415

    small: dict[str, dict[str, Any]] = {
        "ConvNext": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]},
        "ConvNextV2": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]},
        "ResNet": {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]},
        "RegNet": {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1], "groups_width": 8},
        "Bit": {"embedding_size": 32, "hidden_sizes": [128, 128, 256, 256], "depths": [1, 1, 2, 1]},
        "MobileNetV1": {"depth_multiplier": 0.25, "classifier_dropout_prob": 0.1},
        "MobileNetV2": {"depth_multiplier": 0.35, "classifier_dropout_prob": 0.1},
        "EfficientNet": {"image_size": 64},
    }
    for name, options in small.items():
        config, model = getattr(hf, f"{name}Config"), getattr(hf, f"{name}ForImageClassification")
        yield Network("transformers", name, partial(_from_config, model, config, options), images(64))


def _from_config(model: type[nn.Module], config: type, options: dict[str, Any]) -> nn.Module:
    return model(config(num_labels=10, **options))


def own() -> Iterator[Network]:
    """Networks that one writes oneself."""
    yield Network("own", "MLP with batch norm", mlp, lambda: torch.randn(16, 20))
    yield Network("own", "LeNet", lenet, lambda: torch.randn(8, 1, 28, 28))
    yield Network("own", "text CNN", TextConvolution, lambda: torch.randint(0, 100, (8, 20)))
    yield Network("own", "temporal CNN", temporal, lambda: torch.randn(8, 4, 40))
    yield Network("own", "autoencoder", autoencoder, lambda: torch.randn(8, 1, 28, 28))


def mlp() -> nn.Module:
    hidden = [layer for _ in range(3) for layer in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())]
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), *hidden, nn.Linear(64, 3))


def lenet() -> nn.Module:
    features = [nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)]
    head = [nn.Linear(256, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)]
    return nn.Sequential(*features, nn.Flatten(), *head)


class TextConvolution(nn.Module):
    """Convolutions of several widths over word vectors (Kim 2014)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 16)
        self.convs = nn.ModuleList(nn.Conv1d(16, 8, width) for width in (3, 4, 5))
        self.out = nn.Linear(24, 2)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.words(words).transpose(1, 2)
        return self.out(torch.cat([conv(x).relu().amax(2) for conv in self.convs], 1))


def temporal() -> nn.Module:
    """Dilated convolutions (Bai et al. 2018)."""
    layers = [layer for rate in (2, 4, 8) for layer in (nn.Conv1d(16, 16, 3, 1, rate, rate), nn.ReLU())]
    return nn.Sequential(
        nn.Conv1d(4, 16, 3), nn.ReLU(), *layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 3)
    )


def autoencoder() -> nn.Module:
    encoder = [
        nn.Conv2d(1, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(784, 8),
    ]
    decoder = [nn.Linear(8, 784), nn.ReLU(), nn.Unflatten(1, (16, 7, 7)), nn.ConvTranspose2d(16, 8, 2, 2), nn.ReLU()]
    return nn.Sequential(*encoder, *decoder, nn.ConvTranspose2d(8, 1, 2, 2))
