"""Training that runs out of memory, and hosts with several GPUs: the same steps, in smaller pieces, on one device."""

import pytest
import torch
from transformers import TrainingArguments

from harness.api import HarnessError
from harness.methods.fine_tuning.micro_batches import MicroBatched
from harness.methods.fine_tuning.out_of_memory import unless_out_of_memory
from harness.methods.fine_tuning.placement import on_one_device
from harness.methods.fine_tuning.weights import LoraSettings, Trained
from tests.methods.trained import aloe, dpo

NO_DROPOUT = LoraSettings(r=2, alpha=4, dropout=0.0)
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    MemoryError(),
]


@pytest.fixture
def memory_for(monkeypatch):
    """Lets micro-batches fail that have more examples than fit, unless activations are computed again."""
    real = MicroBatched.learn

    def limit(rows, with_checkpointing, fails_after=0, error=OUT_OF_MEMORY[0]):
        tried = []

        def learn(trainer, model, examples, *rest):
            size = len(examples)
            tried.append((size, bool(trainer.args.activation_checkpointing)))
            if len(tried) > fails_after and size > (with_checkpointing if tried[-1][1] else rows):
                raise error
            return real(trainer, model, examples, *rest)

        monkeypatch.setattr(MicroBatched, "learn", learn)
        return tried

    return limit


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:12])
def test_micro_batches_shrink_and_the_steps_stay_the_same(make_context, memory_for, trainers, error):
    config = {"batch_size": 6, "training": "lora", "lora": NO_DROPOUT, "warmup_ratio": 0.0}
    whole = aloe(**config).fit(make_context())
    memory_for(2, 2, error=error)
    context = make_context()
    fitted = aloe(**config).fit(context)
    assert context.report.counts["optimizer_steps"] == 2
    assert context.report.samples_used == 12
    assert context.report.counts["out_of_memory"] == 1  # 5 -> 2
    assert trainers[-1].rows == 2
    for name, tensor in whole.tensors.items():
        torch.testing.assert_close(fitted.tensors[name], tensor, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize(
    "method", [aloe(batch_size=2), aloe(batch_size=2, training="lora", lora=NO_DROPOUT), dpo(batch_size=2)]
)
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_checkpointing_is_turned_on_when_a_single_example_is_too_much(
    make_context, memory_for, t5, toy_source, method, kind
):
    tried = memory_for(0, 1)
    context = make_context(lm={"llama": toy_source, "t5": t5}[kind].pristine())
    assert isinstance(method.fit(context), Trained)
    assert tried[-1] == (1, True)
    assert context.report.samples_used == 12


def test_a_step_that_fails_in_the_midst_of_training_begins_anew(make_context, memory_for):
    config = {"batch_size": 2, "warmup_ratio": 0.0}
    tried = memory_for(1, 1, fails_after=4)
    context = make_context()
    fitted = aloe(**config).fit(context)
    assert len(tried) > 3
    assert context.report.counts["optimizer_steps"] == 6
    whole = aloe(batch_size=1, accumulation=2, warmup_ratio=0.0)
    memory_for(9, 9)
    expected = whole.fit(make_context())
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(fitted.tensors[name], tensor, rtol=1e-3, atol=2e-3)


def test_what_fits_in_no_way_is_a_clear_error(make_context, memory_for):
    memory_for(0, 0)
    with pytest.raises(HarnessError, match="one example at a time and with gradient checkpointing"):
        aloe().fit(make_context())


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape"):
        unless_out_of_memory(lambda: torch.zeros(2).view(3))


def test_checkpointing_as_a_setting_changes_nothing_but_memory(make_context):
    plain, frugal = (
        aloe(training="lora", lora=NO_DROPOUT, gradient_checkpointing=on).fit(make_context()) for on in (False, True)
    )
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(frugal.tensors[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.fixture
def two_gpus(monkeypatch):
    """Arguments that find two GPUs, as on a host that has them; the device stays the CPU's."""
    real = TrainingArguments.__dict__["_setup_devices"].func

    class Found:
        def __get__(self, args, owner):
            args.__dict__["_setup_devices"] = device = real(args)
            args._n_gpu = 2
            return device

    monkeypatch.setattr(TrainingArguments, "_setup_devices", Found())


@pytest.mark.parametrize("method", [aloe(), dpo()])
@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_fit_takes_one_device_where_several_are_visible(
    make_context, trainers, t5, toy_source, two_gpus, method, kind
):
    context = make_context(lm={"llama": toy_source, "t5": t5}[kind].pristine())
    assert isinstance(method.fit(context), Trained)
    assert context.report.counts["optimizer_steps"] == 6  # batches of 2, not of 4
    assert trainers[-1].args.train_batch_size == 2
    assert trainers[-1].args.n_gpu <= 1


def test_the_device_is_the_models_and_not_the_first_one(two_gpus, monkeypatch, tmp_path):
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    args = on_one_device(TrainingArguments(output_dir=str(tmp_path), use_cpu=True), torch.device("cuda:1"))
    assert args.device == torch.device("cuda:1")
    assert (args.n_gpu, args.train_batch_size) == (1, args.per_device_train_batch_size)
    assert current == [torch.device("cuda:1")]
