"""Small models of other libraries, with random weights and with dropout switched on, for ``benchmarks/audit.py``."""

# ruff: noqa: E501 - a table of constructors

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

__all__ = ["LIBRARIES", "Build", "check_size"]

Build = Callable[[], tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]
PARAMETERS = 30_000_000  # larger models are left out
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "emb_dim", "embed_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "encoder_layers", "decoder_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("num_decoder_layers", "num_encoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "n_inner", "ffn_dim"), 64),
    **dict.fromkeys(("d_kv", "head_dim"), 8),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    "num_key_value_heads": 2, "moe_intermediate_size": 32, "vocab_size": 99, "max_position_embeddings": 64,
    "image_size": 32, "patch_size": 8, "hidden_dim": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "conv_dim": (32,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
VIT: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "image_patch_size": 8, "frames": 4, "frame_patch_size": 2, "seq_len": 32, "ndim": 2,
    "input_shape": 32, "num_classes": 5, "dim": 32, "depth": 2, "spatial_depth": 1, "temporal_depth": 1, "cls_depth": 1,
    "heads": 4, "dim_head": 8, "mlp_dim": 64, "mlp_mult": 2, "dropout": 0.1, "emb_dropout": 0.1, "attn_dropout": 0.1,
    "ff_dropout": 0.1, "max_tokens_per_depth": (8, 8), "num_hierarchies": 2, "block_repeats": (1, 1), "sm_dim": 32,
    "lg_dim": 32, "sm_patch_size": 4, "lg_patch_size": 8, "num_slots": 4,
}  # fmt: skip


def check_size(model: nn.Module) -> None:
    if sum(p.numel() for p in model.parameters()) > PARAMETERS:
        raise LookupError("too large")


def small_config(cls: type) -> Any:
    default = cls()
    options = {k: v for k, v in SMALL.items() if isinstance(getattr(default, k, None), (int, tuple, list))}
    options = {k: v for k, v in options.items() if not isinstance(v, tuple) or len(getattr(default, k)) == len(v)}
    options |= {
        k: 0.1
        for k, v in vars(default).items()
        if "drop" in k
        and isinstance(v, float | int)
        and not isinstance(v, bool)
        and "layer" not in k
        and "path" not in k
    }
    return cls(**options)


def hugging_face() -> Iterator[tuple[str, Build]]:
    from transformers.models.auto import modeling_auto as auto  # noqa: PLC0415

    mappings = (auto.MODEL_MAPPING, auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, auto.MODEL_FOR_CAUSAL_LM_MAPPING)
    mappings += (auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING)
    done = set()
    for mapping in mappings:
        for config_class in list(mapping.keys()):
            try:
                model_class = mapping[config_class]
            except (ImportError, ValueError, AttributeError):
                continue
            for cls in model_class if isinstance(model_class, tuple) else (model_class,):
                if cls is not None and cls.__name__ not in done:
                    done.add(cls.__name__)
                    yield cls.__name__, lambda m=cls, c=config_class: hugging_face_model(m, c)


def hugging_face_model(cls: Any, config_class: Any) -> Any:
    config = small_config(config_class)
    config._attn_implementation = "sdpa" if getattr(cls, "_supports_sdpa", False) else "eager"
    with torch.device("meta"):
        meta = cls(config)
    check_size(meta)
    model = cls(config)
    ids = torch.randint(3, 90, (2, 16))
    size = getattr(config, "image_size", 32)
    size = size if isinstance(size, int) else 32
    candidates: list[dict[str, Any]] = [
        {"input_ids": ids},
        {"input_ids": ids, "decoder_input_ids": ids},
        {"pixel_values": torch.randn(2, getattr(config, "num_channels", 3), size, size)},
        {"pixel_values": torch.randn(2, 3, 64, 64)},
        {"input_values": torch.randn(2, 4000)},
        {"input_features": torch.randn(2, getattr(config, "num_mel_bins", 80), 100), "decoder_input_ids": ids},
        {"input_ids": ids, "pixel_values": torch.randn(2, 3, size, size)},
    ]
    names = inspect.signature(model.forward).parameters
    for inputs in candidates:
        if all(name in names or name == "pixel_values" for name in inputs):
            try:
                model.train()
                model(**inputs)
            except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError):
                continue
            return model, (), inputs
    raise LookupError("no input found")


def timm_models() -> Iterator[tuple[str, Build]]:
    import timm  # noqa: PLC0415

    families = set()
    for name in timm.list_models(pretrained=False):
        family = timm.models.model_entrypoint(name).__module__, name.split("_")[0]
        if (family, 0) in families and (family, 1) in families:
            continue
        families.add((family, 1 if (family, 0) in families else 0))
        yield name, lambda n=name: timm_model(n)


def timm_model(name: str) -> Any:
    import timm  # noqa: PLC0415

    with torch.device("meta"):
        check_size(timm.create_model(name))
    on = dict.fromkeys(("drop_rate", "drop_path_rate", "attn_drop_rate", "proj_drop_rate"), 0.1)
    rates = (
        on,
        *({k: v for k, v in on.items() if k != left} for left in on),
        {"drop_rate": 0.1, "proj_drop_rate": 0.1},
    )
    rates += ({"drop_rate": 0.1}, {})
    for options in rates:
        try:
            model = timm.create_model(name, **options)
        except TypeError:
            continue
        size = model.default_cfg.get("input_size", (3, 224, 224))
        if not model.default_cfg.get("fixed_input_size"):
            size = (3, min(size[1], 96), min(size[2], 96))
        return model, (torch.randn(2, *size),), {}
    raise LookupError("no options found")


def torchvision_models() -> Iterator[tuple[str, Build]]:
    from torchvision import models  # noqa: PLC0415

    for name in models.list_models():
        if any(part in name for part in ("rcnn", "retinanet", "ssd", "fcos", "raft", "quantized")):
            continue
        three = name in models.list_models(models.video)
        size = (3, 8, 64, 64) if three else (3, 96, 96)
        if name.startswith(("vit", "swin3d", "mvit", "inception", "maxvit")):
            size = (
                (3, 16, 224, 224)
                if name.startswith(("mvit", "swin3d"))
                else (3, 299, 299)
                if "inc" in name
                else (3, 224, 224)
            )
        options = {"weights_backbone": None} if name in models.list_models(models.segmentation) else {}

        def build(n: str = name, o: Any = options, s: Any = size) -> Any:
            with torch.device("meta"):
                check_size(models.get_model(n, weights=None, **o))
            return models.get_model(n, weights=None, **o), (torch.randn(2, *s),), {}

        yield name, build


def monai_models() -> Iterator[tuple[str, Build]]:
    from monai.networks import blocks, nets  # noqa: PLC0415

    image, flat = torch.randn(2, 1, 32, 32, 32), torch.randn(2, 1, 32, 32)
    token = torch.randn(2, 10, 32)
    d3, d2 = {"spatial_dims": 3, "in_channels": 1}, {"spatial_dims": 2, "in_channels": 1}
    unet = {"out_channels": 2, "channels": (8, 16, 32), "strides": (2, 2), "num_res_units": 2, "dropout": 0.2}
    specs: list[tuple[str, Callable[[], nn.Module], torch.Tensor]] = [
        ("UNet", lambda: nets.UNet(**d3, **unet), image),
        ("UNet-2d", lambda: nets.UNet(**d2, **unet), flat),
        ("AttentionUnet", lambda: nets.AttentionUnet(**d3, out_channels=2, channels=(8, 16), strides=(2,), dropout=0.2), image),
        ("BasicUNet", lambda: nets.BasicUNet(**d3, out_channels=2, features=(8, 8, 8, 8, 8, 8), dropout=0.2), image),
        ("BasicUNet-batch", lambda: nets.BasicUNet(**d2, out_channels=2, dropout=0.2, norm="batch"), flat),
        ("DynUNet", lambda: nets.DynUNet(**d2, out_channels=2, kernel_size=(3, 3, 3), strides=(1, 2, 2), upsample_kernel_size=(2, 2), dropout=0.2), flat),
        ("SegResNet", lambda: nets.SegResNet(**d3, out_channels=2, init_filters=8, dropout_prob=0.2), image),
        ("SegResNetVAE", lambda: nets.SegResNetVAE((32, 32, 32), init_filters=8, in_channels=1, dropout_prob=0.2), image),
        ("VNet", lambda: nets.VNet(**d3, out_channels=2, dropout_prob_down=0.3, dropout_prob_up=(0.3, 0.3)), image),
        ("UNETR", lambda: nets.UNETR(1, 2, (32, 32, 32), 8, 32, 64, 4, dropout_rate=0.2), image),
        ("SwinUNETR", lambda: nets.SwinUNETR(1, 2, feature_size=12, drop_rate=0.1, attn_drop_rate=0.1, dropout_path_rate=0.1), image),
        ("ViT", lambda: nets.ViT(1, (32, 32, 32), (8, 8, 8), 32, 64, 2, 4, dropout_rate=0.1, classification=True), image),
        ("ViTAutoEnc", lambda: nets.ViTAutoEnc(1, (32, 32, 32), (8, 8, 8), hidden_size=32, mlp_dim=64, num_layers=2, num_heads=4, dropout_rate=0.1), image),
        ("TransformerBlock", lambda: blocks.TransformerBlock(32, 64, 4, dropout_rate=0.1), token),
        ("SABlock", lambda: blocks.SABlock(32, 4, dropout_rate=0.2), token),
        ("SABlock-flash", lambda: blocks.SABlock(32, 4, dropout_rate=0.2, use_flash_attention=True), token),
        ("TransformerBlock-flash", lambda: blocks.TransformerBlock(32, 64, 4, dropout_rate=0.1, use_flash_attention=True), token),
        ("CrossAttentionBlock", lambda: blocks.CrossAttentionBlock(32, 4, dropout_rate=0.2), token),
        ("CrossAttentionBlock-flash", lambda: blocks.CrossAttentionBlock(32, 4, dropout_rate=0.2, use_flash_attention=True), token),
        ("MLPBlock", lambda: blocks.MLPBlock(32, 64, 0.1), token),
        ("DenseNet", lambda: nets.DenseNet(**d2, out_channels=2, init_features=8, growth_rate=4, block_config=(2, 2), dropout_prob=0.2), flat),
        ("DenseNet121", lambda: nets.DenseNet121(**d2, out_channels=2, dropout_prob=0.2), flat),
        ("SEResNet50", lambda: nets.SEResNet50(**d2, num_classes=2), flat),
        ("SENet154", lambda: nets.SENet("senet", **d2, layers=(1, 1, 1, 1), groups=8, reduction=4, dropout_prob=0.3), flat),
        ("ResNet18", lambda: nets.resnet18(spatial_dims=2, n_input_channels=1, num_classes=2), flat),
        ("EfficientNet", lambda: nets.EfficientNetBN("efficientnet-b0", pretrained=False, **d2, num_classes=2), torch.randn(2, 1, 64, 64)),
        ("FullyConnectedNet", lambda: nets.FullyConnectedNet(8, 2, (16, 16), dropout=0.2), torch.randn(4, 8)),
        ("VarFullyConnectedNet", lambda: nets.VarFullyConnectedNet(8, 2, 4, (16,), (16,), dropout=0.2), torch.randn(4, 8)),
        ("AutoEncoder", lambda: nets.AutoEncoder(2, 1, 1, (8, 16), (2, 2), dropout=0.2), flat),
        ("VarAutoEncoder", lambda: nets.VarAutoEncoder(2, (1, 32, 32), 1, 4, (8, 16), (2, 2), dropout=0.2), flat),
        ("Regressor", lambda: nets.Regressor((1, 32, 32), (2,), (8, 16), (2, 2), dropout=0.2), flat),
        ("Classifier", lambda: nets.Classifier((1, 32, 32), 2, (8, 16), (2, 2), dropout=0.2), flat),
        ("Discriminator", lambda: nets.Discriminator((1, 32, 32), (8, 16), (2, 2), dropout=0.2), flat),
        ("HighResNet", lambda: nets.HighResNet(3, 1, 2, dropout_prob=0.2), image),
        ("FlexibleUNet", lambda: nets.FlexibleUNet(1, 2, "efficientnet-b0", dropout=0.2, spatial_dims=2), torch.randn(2, 1, 64, 64)),
        ("PatchDiscriminator", lambda: nets.PatchDiscriminator(2, 8, 1, dropout=0.2), flat),
        ("TorchVisionFC-like Ahnet", lambda: nets.AHNet(spatial_dims=3, in_channels=1, out_channels=2), torch.randn(2, 1, 64, 64, 64)),
        ("MedNeXt", lambda: nets.MedNeXtSmall(2, init_filters=8, in_channels=1, out_channels=2), flat),
        ("DecoderOnlyTransformer", lambda: nets.DecoderOnlyTransformer(20, 16, 32, 2, 4, embedding_dropout_rate=0.1), torch.randint(0, 20, (2, 10))),
        ("DecoderOnlyTransformer-flash", lambda: nets.DecoderOnlyTransformer(20, 16, 32, 2, 4, embedding_dropout_rate=0.1, use_flash_attention=True), torch.randint(0, 20, (2, 10))),
        ("QuickNAT", lambda: nets.Quicknat(num_classes=2, num_channels=1, num_filters=8, drop_out=0.2), flat),
        ("GlobalNet", lambda: nets.GlobalNet((32, 32), 2, 1, 4, 2), flat),
    ]  # fmt: skip
    for name, make, x in specs:
        yield name, lambda m=make, v=x: (m(), (v,), {})


def segmentation_models() -> Iterator[tuple[str, Build]]:
    import segmentation_models_pytorch as smp  # noqa: PLC0415

    aux = {"classes": 3, "pooling": "avg", "dropout": 0.3}
    for arch in (
        "Unet",
        "UnetPlusPlus",
        "Linknet",
        "MAnet",
        "FPN",
        "PSPNet",
        "PAN",
        "DeepLabV3",
        "DeepLabV3Plus",
        "UPerNet",
        "Segformer",
    ):
        for encoder in ("resnet18", "mobilenet_v2", "efficientnet-b0", "mit_b0"):

            def build(a: str = arch, e: str = encoder) -> Any:
                return getattr(smp, a)(e, encoder_weights=None, aux_params=aux), (torch.randn(2, 3, 64, 64),), {}

            yield f"{arch}-{encoder}", build


def open_clip_models() -> Iterator[tuple[str, Build]]:
    import open_clip  # noqa: PLC0415

    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 16}
    text = {"context_length": 16, "vocab_size": 99, "width": 32, "heads": 4, "layers": 2}
    for name, change in (("plain", {}), ("patch-dropout", {"patch_dropout": 0.5}), ("attentional", {"attentional_pool": True, "attn_pooler_heads": 4, "attn_pooler_queries": 8}), ("init", {"ls_init_value": 0.1})):  # fmt: skip
        for cls in ("CLIP", "CustomTextCLIP"):

            def build(c: str = cls, v: Any = vision | change) -> Any:
                model = getattr(open_clip, c)(32, v, text)
                return model, (torch.randn(2, 3, 32, 32), torch.randint(1, 90, (2, 16))), {}

            yield f"{cls}-{name}", build


def geometric_models() -> Iterator[tuple[str, Build]]:
    from torch_geometric import nn as g  # noqa: PLC0415

    x, edges = torch.randn(30, 8), torch.randint(0, 30, (2, 90))
    for name in ("GCN", "GraphSAGE", "GIN", "GAT", "PNA", "EdgeCNN"):
        for norm in (None, "batch_norm", "layer_norm"):

            def build(n: str = name, m: Any = norm) -> Any:
                extra = {"aggregators": ["mean"], "scalers": ["identity"], "deg": torch.ones(8)} if n == "PNA" else {}
                return getattr(g, n)(8, 16, 3, 2, dropout=0.3, norm=m, **extra), (x, edges), {}

            yield f"{name}-{norm}", build
    layers: dict[str, Callable[[], nn.Module]] = {
        "GATConv": lambda: g.GATConv(8, 4, 2, dropout=0.3),
        "GATv2Conv": lambda: g.GATv2Conv(8, 4, 2, dropout=0.3),
        "TransformerConv": lambda: g.TransformerConv(8, 4, 2, dropout=0.3),
        "SuperGATConv": lambda: g.SuperGATConv(8, 4, dropout=0.3),
        "HypergraphConv": lambda: g.HypergraphConv(8, 4, dropout=0.3),
        "APPNP": lambda: g.APPNP(3, 0.1, dropout=0.3),
        "GPSConv": lambda: g.GPSConv(8, g.GCNConv(8, 8), heads=2, dropout=0.3, attn_kwargs={"dropout": 0.3}),
        "DNAConv": lambda: g.DNAConv(8, heads=2, dropout=0.3),
        "JumpingKnowledge-GCN": lambda: g.GCN(8, 16, 3, 2, dropout=0.3, jk="lstm"),
        "LINKX": lambda: g.LINKX(30, 8, 16, 2, 2, dropout=0.3),
        "ARMAConv": lambda: g.ARMAConv(8, 4, dropout=0.3),
        "AGNNConv": g.AGNNConv,
        "MLP": lambda: g.MLP([8, 16, 16, 2], dropout=0.3),
        "GraphUNet": lambda: g.GraphUNet(8, 16, 2, 2),
        "Node2Vec-DeepGCNLayer": lambda: g.DeepGCNLayer(g.GCNConv(8, 8), nn.BatchNorm1d(8), nn.ReLU(), dropout=0.3),
    }
    for name, make in layers.items():
        given: tuple[torch.Tensor, ...] = (x, edges)
        if name == "DNAConv":
            given = (x.unsqueeze(1).repeat(1, 3, 1), edges)
        elif name == "MLP":
            given = (x,)
        yield name, lambda m=make, v=given: (m(), v, {})


def vit_models() -> Iterator[tuple[str, Build]]:
    import vit_pytorch  # noqa: PLC0415

    for found in pkgutil.iter_modules(vit_pytorch.__path__):
        try:
            module = importlib.import_module(f"vit_pytorch.{found.name}")
        except ImportError:
            continue
        for name, cls in vars(module).items():
            if (
                getattr(cls, "__module__", "") == module.__name__
                and isinstance(cls, type)
                and issubclass(cls, nn.Module)
            ):
                parameters = inspect.signature(cls).parameters
                if {"num_classes", "dropout"} <= set(parameters) or {"num_classes", "attn_dropout"} <= set(parameters):
                    yield f"{found.name}.{name}", lambda c=cls: vit_model(c)


def vit_model(cls: Any) -> Any:
    parameters = inspect.signature(cls).parameters
    options = {name: value for name, value in VIT.items() if name in parameters}
    pyramid = {"dim": (32,) * 4, "depth": (1,) * 4, "window_size": 4, "global_window_size": (4, 2, 1, 1)}
    pyramid |= {"local_window_size": 2, "heads": (4,) * 4, "reduction_factor": (4, 2, 1, 1)}
    pyramid = {name: value for name, value in pyramid.items() if name in parameters}
    inputs = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 4, 32, 32), torch.randn(2, 3, 32), torch.randn(2, 3, 128, 128)
    for given in (options, options | pyramid, options | {"depth": (1, 1, 1), "heads": (4, 4, 4)}):
        for x in inputs:
            try:
                model = cls(**given)
                check_size(model)
                model(x)
            except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError, ZeroDivisionError):
                continue
            return model, (x,), {}
    raise LookupError("no options found")


LIBRARIES = {
    "transformers": hugging_face, "timm": timm_models, "torchvision": torchvision_models, "monai": monai_models,
    "segmentation_models_pytorch": segmentation_models, "open_clip": open_clip_models, "torch_geometric": geometric_models,
    "vit_pytorch": vit_models,
}  # fmt: skip
