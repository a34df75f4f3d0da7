"""Small files in the real formats of public datasets, with random pixels."""

import gzip
import hashlib
import struct
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from scipy.io import savemat

from supreme_core.components.datasets import fashion_mnist, svhn
from supreme_core.data import cifar_files
from supreme_core.data.cifar_files import CIFAR10, CIFAR100


def pixels(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


def files_of(images):
    """{name: bytes} of the files of an image set."""
    with TemporaryDirectory() as folder:
        paths = images.write(Path(folder))
        return {name: path.read_bytes() for name, path in paths.items()}


def checksum(path):
    return f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


def cifar_record(labels, image):
    """Label bytes, then the red, the green and the blue plane, row by row."""
    return bytes(labels) + image.tobytes()


def cifar_contents(archive, labels_of, *, count=4):
    """{name: bytes} of each file of an archive, `count` records in each, and (labels, images)."""
    contents, records = {}, {}
    for number, name in enumerate(archive.train + archive.test):
        images = pixels(count, 3, 32, 32, seed=number)
        labels = [labels_of(count * number + place) for place in range(count)]
        contents[name] = b"".join(map(cifar_record, labels, images))
        records[name] = labels, images
    return contents, records


def cifar_archive(folder, archive, contents):
    path = folder / archive.file.name
    with tarfile.open(path, "w:gz") as tar:
        for name, data in {"readme.html": b"text", **contents}.items():
            member = tarfile.TarInfo(f"{archive.folder}/{name}")
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    return path


def unpacked(folder, archive, contents):
    (folder / archive.folder).mkdir()
    for name, data in contents.items():
        (folder / archive.folder / name).write_bytes(data)


def fine_and_coarse(number):
    """Records 0, 1, 2, ... are of the fine classes 0, 13, 26, ..."""
    fine = 13 * number % 100
    return int(cifar_files.superclass_of_fine()[fine]), fine


def small_cifar10(monkeypatch, folder):
    contents, records = cifar_contents(CIFAR10, lambda number: (number % 10,))
    path = cifar_archive(folder, CIFAR10, contents)
    known = replace(CIFAR10, file=replace(CIFAR10.file, checksum=checksum(path)))
    monkeypatch.setattr("supreme_core.components.datasets.cifar10.CIFAR10", known)
    return records


def small_cifar100(monkeypatch, folder):
    contents, records = cifar_contents(CIFAR100, fine_and_coarse)
    path = cifar_archive(folder, CIFAR100, contents)
    known = replace(CIFAR100, file=replace(CIFAR100.file, checksum=checksum(path)))
    monkeypatch.setattr(cifar_files, "CIFAR100", known)
    return records


def small_svhn(monkeypatch, folder):
    """(images, y) of both parts; y is as in the file, with 10 for the digit 0."""
    parts = []
    for seed, (name, count) in enumerate({"TRAIN": 12, "TEST": 5}.items()):
        images, y = pixels(count, 32, 32, 3, seed=seed), np.arange(count) % 10 + 1
        path = folder / getattr(svhn, name).name
        savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": y[:, None].astype(np.uint8)})
        monkeypatch.setattr(svhn, name, replace(getattr(svhn, name), checksum=checksum(path)))
        parts.append((images, y))
    return parts


def idx(array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return gzip.compress(header + array.tobytes())


def small_fashion_mnist(monkeypatch, folder):
    arrays = [pixels(20, 28, 28), np.arange(20, dtype=np.uint8) % 10]
    arrays += [pixels(10, 28, 28, seed=1), np.arange(10, dtype=np.uint8)]
    files = []
    for file, array in zip(fashion_mnist.FILES, arrays, strict=True):
        (folder / file.name).write_bytes(idx(array))
        files.append(replace(file, checksum=checksum(folder / file.name)))
    monkeypatch.setattr(fashion_mnist, "FILES", tuple(files))
    return arrays


def class_folders(root, names, *, images, size=(12, 9)):
    """A folder for each name with JPEG files of random pixels, all of them different."""
    random = np.random.default_rng(5)
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(1, images + 1):
            array = random.integers(0, 256, (*size, 3)).astype(np.uint8)
            Image.fromarray(array).save(root / name / f"image_{number:04}.jpg")


def pins_folder(folder, *, images=5):
    """105 people: first upper-case names, then lower-case ones, as in the real set."""
    names = [f"pins_Person {number:02}" for number in range(89)]
    names += [f"pins_person_{number:02}" for number in range(16)]
    class_folders(folder / "105_classes_pins_dataset", names, images=images)
    return folder / "105_classes_pins_dataset"


def caltech_folder(folder, *, images=5):
    names = [f"category_{number:03}" for number in range(100)] + ["Faces", "BACKGROUND_Google"]
    class_folders(folder / "101_ObjectCategories", names, images=images)
    return folder / "101_ObjectCategories"
