"""Feed-forward and convolutional networks without dropout, each with an example."""

import torch
from torch import nn

IMAGE = (4, 3, 16, 16)


def conv_norm(inputs, outputs, kernel=3, stride=1, groups=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def mlp():
    layers = [nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)]
    return nn.Sequential(*layers)


def vgg():
    features = [conv_norm(3, 8), conv_norm(8, 8), nn.MaxPool2d(2), conv_norm(8, 16), nn.MaxPool2d(2)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(256, 16), nn.ReLU(inplace=True), nn.Linear(16, 5))


class Residual(nn.Module):
    """A basic block of He et al. 2016, optionally with a gate of Hu et al. 2018."""

    def __init__(self, inputs, outputs, stride=1, gate=False):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.gate = (
            nn.Sequential(
                *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(outputs, 4, 1), nn.ReLU(), nn.Conv2d(4, outputs, 1), nn.Sigmoid())
            )
            if gate
            else None
        )
        self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x):
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        if self.gate is not None:
            y = y * self.gate(y)
        y += x if self.skip is None else self.skip(x)
        return y.relu()


def head(features, classes=5):
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)


def resnet(gate=False):
    return nn.Sequential(conv_norm(3, 8), Residual(8, 8, 1, gate), Residual(8, 16, 2, gate), *head(16))


class InvertedResidual(nn.Module):
    """A block of MobileNetV2."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.expand, self.depthwise = conv_norm(inputs, 32, 1), conv_norm(32, 32, 3, stride, 32)
        self.project = nn.Sequential(nn.Conv2d(32, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x):
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.adds else y


def mobilenet():
    blocks = [InvertedResidual(8, 16, 2), InvertedResidual(16, 16, 1)]
    return nn.Sequential(conv_norm(3, 8), *blocks, conv_norm(16, 32, 1), *head(32))


class Dense(nn.Module):
    """A block of DenseNet."""

    def __init__(self, inputs):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(inputs + 4 * i), nn.ReLU(), nn.Conv2d(inputs + 4 * i, 4, 3, 1, 1))
            for i in range(3)
        )

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def densenet():
    return nn.Sequential(conv_norm(3, 8), Dense(8), conv_norm(20, 8, 1), nn.AvgPool2d(2), Dense(8), *head(20))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.up = conv_norm(3, 8), conv_norm(8, 16), nn.ConvTranspose2d(16, 8, 2, 2)
        self.merge, self.out = conv_norm(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        first = self.down1(x)
        second = self.down2(nn.functional.max_pool2d(first, 2))
        return self.out(self.merge(torch.cat([first, self.up(second)], 1)))


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then linear layers with channels last."""

    def __init__(self, features):
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(features, features, 7, 1, 3, groups=features), nn.LayerNorm(features)
        self.up, self.down = nn.Linear(features, 2 * features), nn.Linear(2 * features, features)

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.down(nn.functional.gelu(self.up(y))).permute(0, 3, 1, 2)


def convnext():
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), ConvNeXtBlock(8), nn.Conv2d(8, 16, 2, 2), ConvNeXtBlock(16), *head(16))


class TextConvolution(nn.Module):
    """Kim 2014: convolutions of several widths over word vectors."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 8)
        self.convs = nn.ModuleList(nn.Conv1d(8, 4, width) for width in (2, 3))
        self.out = nn.Linear(8, 2)

    def forward(self, words):
        x = self.words(words).transpose(1, 2)
        return self.out(torch.cat([conv(x).relu().amax(2) for conv in self.convs], 1))


def sequence():
    return nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 8, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten())


def volume():
    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, 3), nn.Flatten(), nn.Linear(256, 2))


class Mixed(nn.Module):
    """A convolutional network of sequences with a recurrent layer, attention, and a product of its own."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(3, 8, 3), nn.Conv1d(8, 8, 3)
        self.recurrent, self.qkv = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 24)
        self.project, self.hidden = nn.Linear(8, 8), nn.Linear(8, 8)
        self.weight = nn.Parameter(torch.randn(8, 2))

    def forward(self, x):
        x, _ = self.recurrent(self.conv2(self.conv1(x).relu()).transpose(1, 2))
        q, k, v = self.qkv(x).chunk(3, -1)
        x = self.project(nn.functional.scaled_dot_product_attention(q, k, v))
        return self.hidden(x.mean(1)).relu() @ self.weight


def images():
    return torch.randn(IMAGE)


NETWORKS = {
    "MLP": (mlp, lambda: torch.randn(8, 6)),
    "VGG": (vgg, images),
    "ResNet": (resnet, images),
    "SE-ResNet": (lambda: resnet(gate=True), images),
    "MobileNet": (mobilenet, images),
    "DenseNet": (densenet, images),
    "U-Net": (UNet, images),
    "ConvNeXt": (convnext, images),
    "text CNN": (TextConvolution, lambda: torch.randint(0, 30, (4, 12))),
    "1-D CNN": (sequence, lambda: torch.randn(4, 3, 20)),
    "3-D CNN": (volume, lambda: torch.randn(4, 1, 8, 8, 8)),
    "mixed": (Mixed, lambda: torch.randn(4, 3, 20)),
}
