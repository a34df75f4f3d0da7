"""The simulated GPU finds what a GPU would not do, or would wait for, also deep inside a training.

Each fault is planted into the loss of a training that is sound without it.
"""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import optim

from supreme_core.engine.training.fit import Fit, fit, unreported
from supreme_core.engine.training.loss import cross_entropy
from tests.builders import digest, plain, tiny_network, tiny_samples
from tests.simulated_gpu import GPU, lies_there, simulated_gpu

STEPS = 3

FORWARD = "gradients.py looked_at: total = self.loss(model, batch).sum()"
BACKWARD = (
    "gradients.py computed: found = torch.autograd.grad("
    "job.scale(mean), parameters, materialize_grads=True)"
)


@pytest.fixture
def gpu():
    with simulated_gpu() as gpu:
        yield gpu


@pytest.fixture
def there(gpu):
    """(2, 3) numbers on the GPU."""
    return torch.arange(6.0, device=GPU).view(2, 3)


def trained(loss=cross_entropy, device=GPU):
    model = tiny_network(3).to(device)
    fit(
        model,
        tiny_samples(device=device),
        Fit(epochs=1, batch_size=16, optimizer=lambda p: optim.SGD(p, lr=0.1, momentum=0.9)),
        seed=1,
        numerics=plain(1, device),
        report=unreported,
        loss=loss,
    )
    return model


def asks_for_a_number(model, batch):
    loss = cross_entropy(model, batch)
    return loss * (1 if loss.sum().item() > 0 else 2)


def chooses_by_positions_of_the_host(model, batch):
    return cross_entropy(model, batch)[torch.arange(len(batch))]


def chooses_by_a_list(model, batch):
    return cross_entropy(model, batch)[list(range(len(batch)))]


def chooses_by_a_mask(model, batch):
    return cross_entropy(model, batch)[batch.labels >= 0]


def sends_a_table(model, batch):
    return cross_entropy(model, batch) * torch.ones(len(batch)).to(GPU)


def draws_by_a_generator_of_the_host(model, batch):
    noise = torch.rand(len(batch), device=GPU, generator=torch.Generator())
    return cross_entropy(model, batch) + noise


def draws_in_place_by_a_generator_of_the_host(model, batch):
    loss = cross_entropy(model, batch)
    return loss + torch.empty_like(loss).uniform_(generator=torch.Generator())


def mixes_devices(model, batch):
    return cross_entropy(model, batch) * torch.ones(len(batch))


def takes_rows_by_positions_of_the_host(model, batch):
    return cross_entropy(model, batch).index_select(0, torch.arange(len(batch)))


def sees_by_numpy(model, batch):
    return cross_entropy(model, batch) * float(batch.labels.numpy().max())


def adds_up_by_atomic_additions(model, batch):
    return cross_entropy(model, batch).cumsum(0)


@pytest.mark.parametrize(
    "loss",
    [
        asks_for_a_number,
        chooses_by_positions_of_the_host,
        chooses_by_a_list,
        chooses_by_a_mask,
        sends_a_table,
    ],
)
def test_a_wait_in_a_step_is_counted_with_its_place(gpu, loss):
    trained(loss)
    waits = gpu.in_steps()
    assert waits.pop(FORWARD) == STEPS
    assert set(waits) <= {BACKWARD}  # which uses the same positions again


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (draws_by_a_generator_of_the_host, "Expected a 'cuda' device type for generator"),
        (draws_in_place_by_a_generator_of_the_host, "Expected a 'cuda' device type for generator"),
        (mixes_devices, "at least two devices, cuda:0 and cpu"),
        (takes_rows_by_positions_of_the_host, "at least two devices, cuda:0 and cpu"),
        (sees_by_numpy, "can't convert cuda:0 device type tensor to numpy"),
    ],
)
def test_what_a_gpu_refuses_is_refused(gpu, loss, message):
    with pytest.raises((RuntimeError, TypeError), match=message):
        trained(loss)


def test_an_operation_without_a_deterministic_kernel_is_refused_where_bits_are_to_repeat(gpu):
    trained(adds_up_by_atomic_additions)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="cumsum does not have a deterministic"):
            trained(adds_up_by_atomic_additions)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_sound_training_waits_once_an_epoch_and_has_the_numbers_of_a_cpu(gpu):
    model = trained()
    assert gpu.in_steps() == {}
    assert [wait.line[:13] for wait in gpu.waits if "fit.py fit" in wait.places] == [
        "if not finite"
    ]
    assert digest(model.cpu()) == digest(trained(device="cpu"))


def test_what_shares_memory_lies_together_and_a_copy_lies_where_its_source_does(there):
    for each in (there, there[1], there.t(), there.detach(), there.clone(), copy.deepcopy(there)):
        assert each.device == GPU
        assert each.is_cuda
    assert {each.device for each in copy.deepcopy(tiny_network(3).to(GPU)).buffers()} == {GPU}
    assert there.cpu().device.type == "cpu"
    assert there.to("cpu", torch.float64).dtype == torch.float64
    assert torch.zeros_like(there, device="cpu").device.type == "cpu"
    assert torch.zeros(2).to(there).device == GPU


def test_a_number_of_the_host_is_an_argument_of_a_kernel_but_no_part_of_a_tensor(gpu, there):
    assert (there * torch.tensor(2.0)).device == GPU
    assert not gpu.waits
    with pytest.raises(RuntimeError, match="at least two devices"):
        torch.stack([there.sum(), torch.tensor(2.0)])


def test_a_copy_that_runs_aside_is_not_waited_for(gpu):
    torch.zeros(2).to(GPU, non_blocking=True)
    torch.zeros(2, device=GPU).copy_(torch.ones(2), non_blocking=True)
    assert not gpu.waits
    torch.zeros(2).to(GPU)
    torch.zeros(2, device=GPU).copy_(torch.ones(2))
    assert [wait.what for wait in gpu.waits] == ["a copy to the device"] * 2


def test_the_gpu_draws_by_a_generator_of_its_own(gpu):
    gpu.generator.manual_seed(1)
    torch.manual_seed(2)
    drawn, of_the_cpu = torch.rand(2, device=GPU), torch.rand(2)
    gpu.generator.manual_seed(1)
    assert torch.rand(2, device=GPU).tolist() == drawn.tolist()
    torch.manual_seed(2)
    assert torch.rand(2).tolist() == of_the_cpu.tolist()


def test_threads_that_begin_inside_see_the_gpu_and_nothing_is_left_of_it_outside():
    with simulated_gpu(), ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: torch.zeros(2).to(GPU).device).result() == GPU
        tensor = torch.zeros(2, device=GPU)
    assert lies_there(tensor)
    assert tensor.device.type == "cpu"
    assert torch.autocast.__module__.startswith("torch")
