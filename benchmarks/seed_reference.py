"""One stage of supreme-unlearning 0.1.4, for benchmarks/seed.py, in an environment of its own.

    PYTHON benchmarks/seed_reference.py SEED.json train|unlearn ARGUMENTS...

PYTHON is a Python 3.9 that has supreme-unlearning; nothing of ours is imported. SEED.json names the
images and the recipe. The arguments are those of its programs `supreme-train` and
`supreme-unlearn`, which do all of the work: here are only the data set and the network, which its
own registry takes. Beside SEED.json is left what it took to start.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import supreme
import torch
from PIL import Image
from supreme.datasets import datasets
from supreme.models.ResNet18 import BasicBlock, ResNet
from torch import nn
from torchvision import transforms

FILE, STAGE, *ARGUMENTS = sys.argv[1:]
SEED = json.loads(Path(FILE).read_text())

STARTED = "started.json"
"""File with the CPU and the wall seconds until the stage's own code runs."""


class Digits(torch.utils.data.Dataset):
    """The images as the reference's data sets give theirs, CIFAR-10's for one: pictures of Pillow,
    to which its own transforms are applied each time that one is read."""

    def __init__(self, root, train, unlearning, download, img_size=32, model_name=None):
        arrays = np.load(root)
        part = "train" if train else "test"
        self.images, self.targets = arrays[part], arrays[f"{part}_labels"].tolist()
        self.classes = [str(digit) for digit in range(10)]
        mean, std = SEED["mean"], SEED["std"]
        if not train:
            steps = datasets._build_test_transforms(mean, std)
        elif unlearning:
            steps = datasets._build_unlearning_transforms(mean, std)
        else:
            steps = datasets._build_train_transforms(mean, std)
        resize = transforms.Resize(img_size, antialias=True)
        self.transform = transforms.Compose([*steps, resize])

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, position):
        image = Image.fromarray(self.images[position])
        return self.transform(image), torch.Tensor([]), self.targets[position]


class Narrow(ResNet):
    """The reference's ResNet-18, of another width than 64."""

    def __init__(self, width, num_labels):
        super().__init__(BasicBlock, [2, 2, 2, 2], num_labels)
        self.in_channels = width
        self.conv1[0] = nn.Conv2d(3, width, kernel_size=3, padding=1, bias=False)
        self.conv1[1] = nn.BatchNorm2d(width)
        self.conv2_x = self._make_layer(BasicBlock, width, 2, 1)
        self.conv3_x = self._make_layer(BasicBlock, 2 * width, 2, 2)
        self.conv4_x = self._make_layer(BasicBlock, 4 * width, 2, 2)
        self.conv5_x = self._make_layer(BasicBlock, 8 * width, 2, 2)
        self.fc = nn.Linear(8 * width, num_labels)


def ResNet18(num_labels):
    """Make the network; it must have the name of a model that the reference knows."""
    return Narrow(SEED["width"], num_labels)


def main():
    supreme.register_dataset(
        "Digits",
        Digits,
        root=SEED["images"],
        class_dict={str(digit): digit for digit in range(10)},
        rn_epochs=SEED["epochs"],
        rn_milestones=SEED["milestones"],
    )
    if SEED["width"] != 64:
        supreme.register_model("ResNet18", ResNet18)
    if STAGE == "train":
        from supreme.utils.training import train_main as stage
    else:
        from supreme.utils.unlearning import unlearn_main as stage
    stage.num_cuda_devices = lambda: 1  # it asks for as many processes, which on a CPU would be 0
    started = {"cpu": time.process_time(), "wall": time.time()}
    Path(FILE).with_name(STARTED).write_text(json.dumps(started))
    sys.argv = [STAGE, *ARGUMENTS]
    stage.main()


if __name__ == "__main__":
    main()
