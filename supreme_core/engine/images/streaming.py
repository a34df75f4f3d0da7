"""Images that stay in the host's memory: which sets do, and how their batches reach the device."""

import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supreme_core.api.v1alpha1 import DataPlacement
from supreme_core.engine.images.samples import Pixels, ResidentPixels
from supreme_core.errors import SpecError

Placement = Literal["Resident", "Streamed"]


class StreamedPixels:
    """Rows of an array in the host's memory, which may be a memory-mapped file.

    A thread gathers the batch that was hinted at and sends it to the device while the device is
    busy with another one. A batch that nobody hinted at is fetched when it is taken, so a hint that
    was wrong or missing costs time and changes no image.
    """

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self._values = values
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="images")
        self._hinted: tuple[Tensor, Future[Tensor]] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def take(self, ids: Tensor) -> Tensor:
        hinted, self._hinted = self._hinted, None
        if hinted and torch.equal(hinted[0], ids):
            images = hinted[1].result()
        else:
            images = self._fetched(ids)
        if self._stream:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            images.record_stream(current)
        return images

    def ahead(self, ids: Tensor) -> None:
        self._hinted = ids, self._worker.submit(self._fetched, ids)

    def _fetched(self, ids: Tensor) -> Tensor:
        """Images on the device, where a copy of them is under way in the stream of copies.

        index_select lets other threads of Python run while it copies; numpy is slower at this.
        """
        if self._stream is None:
            return self._values.index_select(0, ids).to(self._device)
        with torch.cuda.stream(self._stream):  # also makes its GPU that of this thread
            shape = (len(ids), *self._values.shape[1:])
            pinned = torch.empty(shape, dtype=self._values.dtype, pin_memory=True)
            torch.index_select(self._values, 0, ids, out=pinned)
            return pinned.to(self._device, non_blocking=True)


def placed(values: NDArray[np.uint8], where: Placement, device: torch.device) -> Pixels:
    """Images of the host's memory as a device uses them.

    Resident on a CPU they are not copied: of a memory-mapped file the processes of a machine share
    one copy, and the system keeps in memory what is used and finds room for.
    """
    if where == "Streamed":
        return StreamedPixels(tensor_of(values), device)
    return ResidentPixels(tensor_of(values).to(device))


def tensor_of(values: NDArray[np.uint8]) -> Tensor:
    """The same memory, which may be a file that is mapped for reading: nothing is written to it.

    torch knows no read-only tensors and warns of them. To map such a file copy on write instead
    fails where it is larger than the machine's memory, because the system promises room for it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(values)


def placement(asked: DataPlacement, *, image_bytes: int, free_bytes: int | None) -> Placement:
    """Decide where a dataset's images are to lie.

    free_bytes: of the device's own memory; None where it has none apart from the
    host's, as a CPU and a GPU of Apple.
    Auto leaves half of it to the models and what they compute.
    """
    if asked == "Resident" and free_bytes is not None and image_bytes > free_bytes:
        raise SpecError(
            f"spec.execution.dataPlacement is Resident, but the images take {image_bytes / 1e9:.1f}"
            f" GB and the device has {free_bytes / 1e9:.1f} GB free; use Auto or Streamed"
        )
    if asked != "Auto":
        return asked
    return "Resident" if free_bytes is None or image_bytes <= free_bytes // 2 else "Streamed"


def free_memory(device: torch.device) -> int | None:
    """Bytes of a GPU's own memory that nobody uses; None where it has none of its own."""
    if device.type != "cuda":
        return None
    free: int = torch.cuda.mem_get_info(device)[0]
    return free
