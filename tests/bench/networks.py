"""The ResNet-18 of the series: torchvision's, name by name, in plain torch.

The series needs its shapes and its names, not torchvision, which has to fit
the installed torch to the letter.

Public names: ``ResNet18``.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


class ResNet18(nn.Module):
    """ResNet-18 for ten classes: 11.2 million parameters, 122 tensors, 44.8 MB in fp32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, stride=1)
        self.layer2 = _stage(64, 128, stride=2)
        self.layer3 = _stage(128, 256, stride=2)
        self.layer4 = _stage(256, 512, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the classes' scores, shape ``(n, 10)``, of images ``(n, 3, height, width)``."""
        found = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        found = self.layer4(self.layer3(self.layer2(self.layer1(found))))
        return self.fc(self.avgpool(found).flatten(1))


class _Block(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1:
            shortcut = nn.Conv2d(width, out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(images)))))
        kept = images if self.downsample is None else self.downsample(images)
        return self.relu(found + kept)


def _stage(width: int, out: int, stride: int) -> nn.Sequential:
    blocks = [("0", _Block(width, out, stride)), ("1", _Block(out, out, 1))]
    return nn.Sequential(OrderedDict(blocks))
