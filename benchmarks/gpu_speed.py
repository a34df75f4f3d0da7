"""Measurements of speed for benchmarks/gpu.py, one JSON object a line; started by it.

training    plain loops and ours in each precision, several micro-batches, the host's and the
            device's part of a step, evaluation, importances by size of chunk
vit         the same of a ViT, shortly
shared      ours in bf16, once a line comes in: several such processes share a device
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import timm
import torch
from torch import Tensor, nn, optim
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from supreme_core.api.v1alpha1 import Component, Precision, Training
from supreme_core.components.models.resnet18 import ResNet18
from supreme_core.engine.evaluation.prediction import predict
from supreme_core.engine.evaluation.reproducibility import configure
from supreme_core.engine.images.image_shape import ImageShape
from supreme_core.engine.images.samples import ImageSource, ResidentPixels, Samples
from supreme_core.engine.ranks.device import GRADIENT_ELEMENTS, finish_work
from supreme_core.engine.ranks.ranks import Ranks
from supreme_core.engine.ranks.reduction import Reduction
from supreme_core.engine.toolbox.importance import importance_sums
from supreme_core.engine.training.fit import fit, unreported
from supreme_core.engine.training.loss import cross_entropy
from supreme_core.engine.training.numerics import NumericsPolicy
from supreme_core.engine.training.recipe import Recipe

PADDING = 4
MEAN, STD = 0.5, 0.25

Found = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """Size of what is measured.  warm: steps before those that are timed."""

    width: int = 64
    images: int = 50_000
    side: int = 32
    batch: int = 128
    warm: int = 30
    steps: int = 200
    importances: int = 1024
    vit: str = "vit_base_patch16_224"
    vit_side: int = 224
    vit_batch: int = 64
    vit_steps: int = 20


TINY = Size(
    *(4, 256, 8, 16, 1, 2), importances=64, vit="test_vit", vit_side=32, vit_batch=4,
    vit_steps=2,
)  # fmt: skip


@dataclass
class Speed:
    """Measurements on one device.  end: time.monotonic() after which nothing begins."""

    device: torch.device
    size: Size
    end: float
    ranks: Ranks = field(init=False)

    def __post_init__(self) -> None:
        self.ranks = Ranks.alone(self.device)

    def tell(self, name: str, measure: Callable[[], Found]) -> None:
        """Say what was found, or why nothing was; what follows is measured all the same."""
        if time.monotonic() > self.end:
            found: Found = {"skipped": "no time left"}
        else:
            try:
                found = measure()
            except Exception as error:  # a device that lacks one thing may have the others
                found = {"error": f"{type(error).__name__}: {error}"[:400]}
        print(json.dumps({name: found}), flush=True)

    def timed(self, steps: Callable[[], None], images: int, count: int) -> Found:
        finish_work(self.device)
        wall, processor = time.perf_counter(), time.process_time()
        steps()
        finish_work(self.device)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        return {
            "images_per_s": round(images / wall, 1),
            "ms_per_step": round(wall / count * 1e3, 3),
            "cpu_ms_per_step": round(processor / count * 1e3, 3),
        }

    def peak(self) -> Found:
        """Most memory since the last call, in GiB."""
        if self.device.type != "cuda":
            return {}
        most = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return {"peak_GiB": round(most / 2**30, 3)}

    def network(self, layout: torch.memory_format = torch.channels_last) -> nn.Module:
        torch.manual_seed(0)
        shape = ImageShape(channels=3, size=self.size.side, classes=10)
        made: nn.Module = ResNet18(shape, width=self.size.width)
        return made.to(self.device).to(memory_format=layout)

    def samples(self, count: int, side: int, classes: int = 10) -> Samples:
        drawn = torch.Generator().manual_seed(1)
        pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=drawn)
        labels = torch.randint(0, classes, (count,), generator=drawn)
        mean, std = (torch.full((3,), value, device=self.device) for value in (MEAN, STD))
        source = ImageSource(ResidentPixels(pixels.to(self.device)), mean, std)
        return Samples(source, torch.arange(count), labels.to(self.device))

    def ours(
        self,
        model: nn.Module,
        samples: Samples,
        training: Training,
        warm: int,
        *,
        graphs: bool = True,
    ) -> Found:
        """The loop of all trainings: some steps that are not timed, then one epoch."""
        recipe, numerics = Recipe.of(training).fit(3), NumericsPolicy.of(training, self.ranks)
        if not graphs:
            numerics = replace(numerics, graphs=None)
        told: Found = {"seed": 3, "numerics": numerics, "report": unreported}
        fit(model, samples.take(torch.arange(warm * training.batch_size)), recipe, **told)
        self.peak()
        count = len(samples) // training.batch_size
        found = self.timed(lambda: fit(model, samples, recipe, **told), len(samples), count)
        return {**found, **self.peak(), "digest": digest(model)}

    def plain(
        self,
        samples: Samples,
        dtype: torch.dtype | None,
        *,
        layout: torch.memory_format = torch.channels_last,
        graph: bool = False,
    ) -> Found:
        """A loop as a user of torch writes it, with all images on the device; as a CUDA graph: with
        a fused optimiser."""
        model, size, device = self.network(layout).train(), self.size, self.device
        assert isinstance(samples.source, ImageSource)
        assert isinstance(samples.source.pixels, ResidentPixels)
        pixels, labels = samples.source.pixels.values, samples.labels
        optimizer = optim.SGD(
            model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=graph or None
        )
        order = torch.randperm(len(labels), device=device)
        index = order[: size.batch].clone()

        def step() -> None:
            images = self._augmented(pixels.index_select(0, index))
            images = images.float().div_(255).sub_(MEAN).div_(STD).contiguous(memory_format=layout)
            with torch.autocast(device.type, dtype=dtype) if dtype else nullcontext():
                loss = functional.cross_entropy(model(images), labels.index_select(0, index))
            optimizer.zero_grad(set_to_none=not graph)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        run = _captured(step) if graph else step

        def steps(count: int) -> None:
            for number in range(count):
                begin = number * size.batch % (len(order) - size.batch + 1)
                index.copy_(order[begin : begin + size.batch])
                run()

        steps(size.warm)
        return self.timed(lambda: steps(size.steps), size.steps * size.batch, size.steps)

    def _augmented(self, images: Tensor) -> Tensor:
        """Windows of padded images, half of them mirrored."""
        count, side = len(images), images.shape[-1]
        padded = functional.pad(images, (PADDING,) * 4)
        down, right = torch.randint(0, 2 * PADDING + 1, (2, count, 1), device=self.device)
        places = torch.arange(side, device=self.device)
        rows = (down + places)[:, None, :, None].expand(-1, 3, -1, padded.shape[3])
        columns = (right + places)[:, None, None, :].expand(-1, 3, side, -1)
        cut = padded.gather(2, rows).gather(3, columns)
        mirrored = torch.rand(count, device=self.device) < 0.5
        return torch.where(mirrored[:, None, None, None], cut.flip(-1), cut)

    def profiled(self, samples: Samples, training: Training) -> Found:
        """Kernels of a step, and the part of the time in which the device is busy."""
        model, recipe = self.network(), Recipe.of(training).fit(3)
        told: Found = {"seed": 3, "report": unreported}
        told["numerics"] = NumericsPolicy.of(training, self.ranks)
        fit(model, samples, recipe, **told)
        is_gpu, steps = self.device.type == "cuda", len(samples) // training.batch_size
        kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if is_gpu else [])
        with profile(activities=kinds) as looked:
            begin = time.perf_counter()
            fit(model, samples, recipe, **told)
            finish_work(self.device)
            wall = time.perf_counter() - begin
        kernels = [each for each in looked.events() if str(each.device_type).endswith("CUDA")]
        busy = sum(each.time_range.elapsed_us() for each in kernels) / 1e6
        return {
            "kernels_per_step": round(len(kernels) / steps, 1),
            "device_ms_per_step": round(busy / steps * 1e3, 3),
            "busy_share_under_profiler": round(busy / wall, 3),
        }

    def evaluation(self, model: nn.Module, samples: Samples, classes: int) -> Found:
        def logits() -> Any:
            return predict(model, samples, classes=classes, ranks=self.ranks)

        first, begin = logits(), time.perf_counter()
        again = logits()
        wall = time.perf_counter() - begin
        same = bool((first == again).all())
        return {"images_per_s": round(len(samples) / wall, 1), "same_bits_again": same}

    def importances(self, model: nn.Module, samples: Samples, chunk: int) -> Found:
        """Squared gradients of each sample.  chunk: elements that are squared at one time."""
        GRADIENT_ELEMENTS[self.device.type] = chunk

        def sums() -> None:
            importance_sums(
                model,
                samples,
                loss=cross_entropy,
                power="squared",
                reduction=Reduction(self.ranks, 1),
                report=unreported,
            )

        sums()
        self.peak()
        finish_work(self.device)
        begin = time.perf_counter()
        sums()
        finish_work(self.device)
        each = (time.perf_counter() - begin) / len(samples)
        return {"ms_per_image": round(each * 1e3, 4), **self.peak()}


def digest(model: nn.Module) -> str:
    """Return a short digest of all weights and buffers."""
    whole = hashlib.sha256()
    for tensor in model.state_dict().values():
        whole.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()[:16]


def _captured(step: Callable[[], None]) -> Callable[[], None]:
    """A CUDA graph of a step; what is drawn at random is drawn anew at each replay."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(5):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def as_plain_torch() -> None:
    """Leave torch as it is where nobody asks for the same bits twice."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True


def recipe(
    batch: int, precision: Precision, *, micro_batches: int = 1, vit: bool = False
) -> Training:
    sgd = {"lr": 0.01, "momentum": 0.9, "weightDecay": 5e-4}
    crop = Component(name="random_crop", params={"padding": PADDING})
    return Training(
        epochs=1,
        batch_size=batch,
        micro_batches=micro_batches,
        precision=precision,
        optimizer=Component(name="adamw", params={"lr": 1e-4})
        if vit
        else Component(name="sgd", params=sgd),
        augmentation=[] if vit else [crop, Component(name="horizontal_flip")],
    )


def training(speed: Speed) -> None:
    size, is_gpu = speed.size, speed.device.type == "cuda"
    samples = speed.samples(size.images, size.side)
    as_plain_torch()
    half, contiguous = torch.bfloat16, torch.contiguous_format
    speed.tell("plain bf16", lambda: speed.plain(samples, half))
    speed.tell("plain, torch's defaults", lambda: speed.plain(samples, None, layout=contiguous))
    if is_gpu:
        speed.tell("plain bf16, CUDA graph", lambda: speed.plain(samples, half, graph=True))
    torch.backends.cudnn.benchmark = False
    timed = samples.take(torch.arange(size.steps * size.batch) % len(samples))
    precisions: tuple[Precision, ...] = ("fp32", "tf32", "bf16", "fp16")
    for precision in precisions if is_gpu else ("fp32", "bf16"):
        configure(speed.device, precision)
        for parts in (1, 4) if precision == "bf16" else (1,):
            how = recipe(size.batch, precision, micro_batches=parts)
            name = f"ours {precision}" + (f", {parts} micro-batches" if parts > 1 else "")
            speed.tell(name, lambda how=how: speed.ours(speed.network(), timed, how, size.warm))
            if is_gpu:
                speed.tell(
                    f"{name}, no CUDA graphs",
                    lambda how=how: speed.ours(
                        speed.network(), timed, how, size.warm, graphs=False
                    ),
                )
    few = samples.take(torch.arange(10 * size.batch) % len(samples))
    speed.tell("kernels of ours bf16", lambda: speed.profiled(few, recipe(size.batch, "bf16")))
    configure(speed.device, "fp32")
    model = speed.network().eval()
    speed.tell("evaluation fp32", lambda: speed.evaluation(model, samples, 10))
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    speed.tell("evaluation tf32", lambda: speed.evaluation(model, samples, 10))
    configure(speed.device, "fp32")
    some = samples.take(torch.arange(size.importances))
    for power in (22, 24, 26, 28) if is_gpu else (22,):
        chunk = 2**power
        name = f"importances, chunks of 2^{power}"
        speed.tell(name, lambda chunk=chunk: speed.importances(model, some, chunk))


def vit(speed: Speed) -> None:
    size = speed.size
    samples = speed.samples(size.vit_steps * size.vit_batch, size.vit_side, 100)

    def network() -> nn.Module:
        torch.manual_seed(0)
        made: nn.Module = timm.create_model(size.vit, num_classes=100, img_size=size.vit_side)
        return made.to(speed.device)

    def plain() -> Found:
        model, labels = network().train(), samples.labels[: size.vit_batch]
        images = torch.randn(size.vit_batch, 3, *(2 * [size.vit_side]), device=speed.device)
        optimizer = optim.AdamW(model.parameters(), lr=1e-4)

        def steps(count: int) -> None:
            for _ in range(count):
                with torch.autocast(speed.device.type, dtype=torch.bfloat16):
                    loss = functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

        steps(2)
        speed.peak()
        found = speed.timed(lambda: steps(size.vit_steps), len(samples), size.vit_steps)
        return {**found, **speed.peak()}

    as_plain_torch()
    speed.tell("plain bf16", plain)
    configure(speed.device, "bf16")
    for parts in (1, 4):
        how = recipe(size.vit_batch, "bf16", micro_batches=parts, vit=True)
        name = "ours bf16" + (f", {parts} micro-batches" if parts > 1 else "")
        speed.tell(name, lambda how=how: speed.ours(network(), samples, how, 1))
    model = network().eval()
    speed.tell("evaluation fp32", lambda: speed.evaluation(model, samples, 100))
    some = samples.take(torch.arange(min(64, len(samples))))
    chunk = GRADIENT_ELEMENTS[speed.device.type]
    speed.tell("importances", lambda: speed.importances(model, some, chunk))


def shared(speed: Speed) -> None:
    size = speed.size
    configure(speed.device, "bf16")
    samples = speed.samples(size.steps * size.batch, size.side)
    model, how = speed.network(), recipe(size.batch, "bf16")
    print("ready", flush=True)
    sys.stdin.readline()
    speed.tell("ours", lambda: speed.ours(model, samples, how, size.warm))


PARTS: dict[str, Callable[[Speed], None]] = {"training": training, "vit": vit, "shared": shared}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--seconds", type=float, default=300.0)
    options = parser.parse_args()
    device = torch.device("cuda", 0) if options.device == "cuda" else torch.device("cpu")
    size = TINY if options.tiny else Size()
    PARTS[options.part](Speed(device, size, time.monotonic() + options.seconds))


if __name__ == "__main__":
    main()
