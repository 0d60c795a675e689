"""What is computed with few logits and in micro-batches, against trl's own trainers, which make all of them at once."""

import pytest
import torch
from datasets import Dataset
from transformers import FalconConfig, FalconForCausalLM, set_seed
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from harness.methods.fine_tuning.trainer import fit_weights
from harness.methods.fine_tuning.training_data import Row, joined, record
from harness.methods.fine_tuning.weights import LoraSettings, trained_tensors
from harness.model.lm import load
from tests.methods.trained import aloe, dpo

LORA = LoraSettings(r=4, alpha=8, dropout=0.0)
ROWS = [
    Row("A movie in the city. " * n, {"completion": "comedy " * n, "chosen": "comedy", "rejected": "a tag " * n}, "u")
    for n in (3, 1, 2, 5, 1)
]


def gradients(trainer):
    found = {n: w.grad.clone() for n, w in trainer.model.named_parameters() if w.grad is not None}
    trainer.model.zero_grad(set_to_none=True)
    return found


def records(lm):
    return Dataset.from_list([record(lm, row) for row in ROWS])


@pytest.mark.parametrize("lora", [None, LORA])
def test_sft_has_trls_loss_and_gradients(make_context, lora):
    context = make_context()
    trainer = aloe(batch_size=5)._trainer(context, records(context.lm), lora)
    batch = trainer.pad(list(trainer.train_dataset))
    whole = sum(map(trainer.weight, trainer.train_dataset))
    assert whole == (batch["labels"][:, 1:] != -100).sum()
    ours = trainer.piece_loss(trainer.model, batch, [*range(5)]) / whole
    ours.backward()
    found = gradients(trainer)
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    for name, gradient in gradients(trainer).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5)


def test_dpo_has_trls_loss_and_gradients(make_context):
    context = make_context()
    trainer = dpo(lora=LORA, beta=0.3)._trainer(context, records(context.lm))
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    rows = list(trainer.train_dataset)
    theirs = trainer.compute_loss(trainer.model, DataCollatorForPreference(context.lm.tokenizer.pad_token_id)(rows))
    theirs.backward()
    expected = gradients(trainer)
    assert trainer.shared
    # With the reference asked, with it remembered, and with a prompt for either answer.
    for shared in (True, True, False):
        if not shared:
            trainer.shared, trainer.pad = False, DataCollatorForPreference(context.lm.tokenizer.pad_token_id)
        ours = trainer.piece_loss(trainer.model, trainer.pad(rows), [*range(5)]) / 5
        ours.backward()
        found = gradients(trainer)
        assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5)


def test_dpo_on_a_model_with_alibi_reads_either_answer_after_a_prompt_of_its_own(make_context, toy_source, tmp_path):
    torch.manual_seed(0)
    shape = {"vocab_size": len(toy_source.tokenizer), "hidden_size": 32, "num_hidden_layers": 2}
    config = FalconConfig(**shape, num_attention_heads=4, alibi=True, initializer_range=0.3, eos_token_id=1)
    FalconForCausalLM(config).save_pretrained(tmp_path)
    toy_source.tokenizer.save_pretrained(tmp_path)
    context = make_context(lm=load(str(tmp_path)))
    trainer = dpo(lora=LORA)._trainer(context, records(context.lm))
    for name, weight in trainer.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    rows = list(trainer.train_dataset)
    theirs = trainer.compute_loss(trainer.model, DataCollatorForPreference(context.lm.tokenizer.pad_token_id)(rows))
    ours = trainer.piece_loss(trainer.model, trainer.pad(rows), [*range(5)]) / 5
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("method", ["aloe", "dpo"])
def test_a_fit_ends_with_the_weights_of_a_bare_trl_trainer(make_context, toy_source, method):
    context = make_context(lm=toy_source.pristine())
    config = {"num_epochs": 2, "lora": LORA, "warmup_ratio": 0.25, "learning_rate": 1e-3}
    made = aloe(training="lora", **config) if method == "aloe" else dpo(**config)
    extra = (LORA,) if method == "aloe" else ()
    set_seed(0)  # adapters start at random
    forecast = made.config.forecast(context, ROWS, LORA)
    ours = fit_weights(context, forecast, LORA, lambda data: made._trainer(context, data, *extra)).tensors

    lm = toy_source.pristine()
    arguments = {**made.config.arguments(context), "per_device_train_batch_size": 2}
    common = {"processing_class": lm.tokenizer, "peft_config": LORA.peft(lm.model)}
    set_seed(0)
    if method == "aloe":
        data = records(lm).map(joined, remove_columns=records(lm).column_names)
        bare = SFTTrainer(lm.model, SFTConfig(**arguments, completion_only_loss=True), train_dataset=data, **common)
    else:
        texts = [{"prompt": row.prompt, **row.answers} for row in ROWS]
        bare = DPOTrainer(lm.model, args=DPOConfig(**arguments), train_dataset=Dataset.from_list(texts), **common)
        bare.train_dataset = records(lm)
    bare.train()
    for name, tensor in trained_tensors(bare.model, LORA).items():
        torch.testing.assert_close(ours[name], tensor, atol=2e-4, rtol=1e-3)
