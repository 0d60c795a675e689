"""ALOE and DPO on an encoder-decoder: what its decoder learns, by which loss, and that the clock is kept."""

import math

import numpy as np
import pytest
import torch

from harness.conformance.toys import toy_queries, toy_users
from harness.methods.base_prompt import Unedited
from harness.methods.fine_tuning.micro_batches import MicroBatched
from harness.methods.fine_tuning.training_data import Row, record, training_prompt
from harness.methods.fine_tuning.weights import LoraSettings, Trained
from harness.running.clock import BudgetClock
from tests.methods.trained import LORA, Ticks, aloe, dpo

ROWS = [
    Row("A movie in the city. Which tag? Your answer:", {"chosen": "comedy", "rejected": "classic tag"}, "u"),
    Row("A </s> letter <pad>. Your answer:", {"chosen": "fantasy or romance", "rejected": "a"}, "v"),
]


@pytest.fixture
def lm(t5):
    """T5 with the dropout that checkpoints come with."""
    lm = t5.pristine()
    assert lm.model.config.dropout_rate == 0.1
    return lm


def batch_of(trainer):
    return trainer.pad(list(trainer.train_dataset))


def completions():
    return [Row(row.prompt, {"completion": row.answers["chosen"]}, row.user) for row in ROWS]


@pytest.fixture
def build(make_context, lm):
    """A method's trainer on rows, not yet trained."""
    from datasets import Dataset

    def make(method, rows, *lora, **changes):
        context = make_context(lm=lm, **changes)
        return method._trainer(context, Dataset.from_list([record(lm, row) for row in rows]), *lora)

    return make


def test_prompts_and_answers_are_the_tokens_that_the_model_is_asked_and_answers_with(lm):
    found = record(lm, ROWS[1])
    text = lm.tokenizer.decode(found["prompt_ids"])
    assert text.startswith("A < /s> letter < pad>")
    assert text.endswith("</s>")
    assert found["prompt_ids"] == lm.prompt_ids(ROWS[1].prompt)
    assert found["chosen_ids"] == [*lm.answer_ids("fantasy or romance"), 1]
    assert lm.tokenizer.decode(found["chosen_ids"]) == "fantasy or romance</s>"
    assert found["rejected_ids"].count(1) == 1


def test_only_the_answer_is_learned_and_the_decoder_starts_right_before_it(build):
    trainer = build(aloe(), completions(), None)
    batch, rows = batch_of(trainer), trainer.train_dataset
    short, long = sorted((row["completion_ids"] for row in rows), key=len)
    pad = [-100] * (len(long) - len(short))
    assert pad
    assert batch["labels"].tolist() == [short + pad, long]
    assert batch["decoder_input_ids"].tolist() == [[0, *short, *[0] * len(pad)][:-1], [0, *long[:-1]]]
    for row, ids, mask in zip(rows, batch["input_ids"], batch["attention_mask"], strict=True):
        assert ids[mask.bool()].tolist() == row["prompt_ids"]


def test_sft_loss_is_over_all_answer_tokens_of_a_step(build, lm, t5):
    rows = completions()
    trainer = build(aloe(), rows, None)
    sums = t5.log_likelihood([row.prompt for row in rows], [row.answers["completion"] for row in rows])
    tokens = sum(len(row["completion_ids"]) for row in trainer.train_dataset)
    trainer.model.eval()
    assert sum(map(trainer.weight, trainer.train_dataset)) == tokens
    assert trainer.piece_loss(lm.model, batch_of(trainer), [0, 1]).item() == pytest.approx(-sums.sum().item())


def test_accumulated_micro_batches_are_one_batch(make_context, t5, trainers):
    losses, weights = [], []
    for size, accumulation in ((4, 1), (1, 4)):
        lm = t5.pristine()
        lm.model.config.dropout_rate = 0.0
        for module in lm.model.modules():
            if hasattr(module, "dropout"):
                module.dropout = torch.nn.Identity() if isinstance(module.dropout, torch.nn.Module) else 0.0
        config = {"batch_size": size, "accumulation": accumulation, "max_grad_norm": 1e9}
        context = make_context(lm=lm, users=toy_users(4, examples=1))
        fitted = aloe(**config).fit(context)
        losses.append(context.report.counts["training_loss"])
        weights.append(torch.cat([tensor.flatten() for tensor in fitted.tensors.values()]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert torch.allclose(*weights, atol=1e-4)


def numpy_log_likelihood(model, row, column):
    """Without batch and padding, from logits on."""
    start = [model.config.decoder_start_token_id, *row[column][:-1]]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row["prompt_ids"]]), decoder_input_ids=torch.tensor([start])).logits
    scores = logits[0].double().numpy()
    scores -= scores.max(-1, keepdims=True)
    return (scores - np.log(np.exp(scores).sum(-1, keepdims=True)))[np.arange(len(start)), row[column]].sum()


def test_dpo_loss_is_the_papers(build, lm, t5):
    trainer = build(dpo(beta=0.3), ROWS)
    policy = trainer.model
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    policy.train()
    found = trainer.piece_loss(policy, batch_of(trainer), [0, 1]).item()
    policy.eval()
    losses = []
    for row in trainer.train_dataset:
        ratios = [
            numpy_log_likelihood(policy, row, column) - numpy_log_likelihood(t5.model, row, column)
            for column in ("chosen_ids", "rejected_ids")
        ]
        losses.append(np.log1p(np.exp(-0.3 * (ratios[0] - ratios[1]))))
    assert all(abs(loss - math.log(2)) > 0.1 for loss in losses)
    assert found == pytest.approx(np.sum(losses), rel=1e-4)


def test_dpo_starts_at_log_2_without_dropout(build):
    trainer = build(dpo(lora=LoraSettings(r=2, dropout=0.5)), ROWS)
    trainer.model.train()
    loss = trainer.piece_loss(trainer.model, batch_of(trainer), [0, 1])
    assert loss.item() == pytest.approx(2 * math.log(2), abs=1e-6)
    loss.backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in trainer.model.parameters())


@pytest.mark.parametrize("frugal", [False, True])
def test_dpo_computes_a_decoder_layer_again_where_activations_are_not_kept(make_context, lm, monkeypatch, frugal):
    passes, learn = [0], MicroBatched.learn

    def counting(trainer, *arguments):
        attention = lm.model.decoder.block[0].layer[0].SelfAttention
        handle = attention.register_forward_hook(lambda *_: passes.append(passes.pop() + 1))
        try:
            return learn(trainer, *arguments)
        finally:
            handle.remove()

    monkeypatch.setattr(MicroBatched, "learn", counting)
    fitted = dpo(gradient_checkpointing=frugal, batch_size=4).fit(make_context(lm=lm, users=toy_users(1, examples=1)))
    assert isinstance(fitted, Trained)
    assert passes == [3 if frugal else 2]  # of the reference, of the policy, and again while going back


def test_an_adapter_is_on_query_and_value_and_off_it_is_the_base_model(make_context, lm, t5, trainers):
    context = make_context(lm=lm, users=toy_users(4))
    assert isinstance(dpo().fit(context), Trained)
    adapted = trainers[-1].model
    assert adapted.active_peft_config.task_type == "SEQ_2_SEQ_LM"
    assert adapted.active_peft_config.target_modules == {"q", "v"}
    batch = {name: ids[:2] for name, ids in batch_of(trainers[-1]).items() if name != "labels"}
    with torch.no_grad():
        on, plain = adapted(**batch).logits, t5.model(**batch).logits
        with adapted.disable_adapter():
            off = adapted(**batch).logits
    assert torch.equal(off, plain)
    assert (on - plain).abs().max() > 1e-3


@pytest.mark.parametrize(
    "method",
    [
        aloe(num_epochs=15, batch_size=12),
        aloe(num_epochs=15, batch_size=12, training="lora", lora=LORA),
        dpo(num_epochs=15, batch_size=12),
    ],
    ids=["full", "lora", "dpo"],
)
def test_training_prefers_the_users_answers_and_a_saved_fit_answers_the_same(make_context, lm, t5, tmp_path, method):
    context = make_context(lm=lm)
    fitted = method.fit(context)
    examples = [user.examples[0] for user in context.users]
    prompts = [training_prompt(context, 256, example, [example.answer]) for example in examples]

    def gap() -> torch.Tensor:
        chosen = t5.log_likelihood(prompts, [example.answer for example in examples])
        return (chosen - t5.log_likelihood(prompts, rejected)).mean()

    rejected, before = t5.generate(prompts, 6), None
    before = gap()
    with fitted.patched_model(t5):
        assert gap() > before + 1
        answers = t5.generate(prompts, 6)
    assert t5.generate(prompts, 6) == rejected
    fitted.save(tmp_path)
    loaded = method.load(tmp_path, context.task)
    queries = toy_queries(context.users)
    pairs = list(zip(queries, context.users, strict=True))
    assert [loaded.prompt(q, u.history) for q, u in pairs] == [fitted.prompt(q, u.history) for q, u in pairs]
    with loaded.patched_model(t5):
        assert t5.generate(prompts, 6) == answers != rejected


@pytest.mark.parametrize("method", [aloe, dpo])
@pytest.mark.parametrize(
    ("budget", "accumulation", "steps", "samples", "exhausted"),
    [
        (20.0, 1, 6, 12, False),
        (3.7, 1, 3, 6, True),
        (20.0, 3, 2, 12, False),
        (0.8, 3, 1, 1, True),
        (0.0, 1, 0, 0, True),
    ],
)
def test_the_clock_is_kept_as_with_decoders(
    make_context, lm, monkeypatch, method, budget, accumulation, steps, samples, exhausted
):
    clock = BudgetClock(budget, now=(ticks := Ticks(monkeypatch)))
    context = make_context(lm=lm, clock=clock)
    fitted = method(accumulation=accumulation, warmup_ratio=0.0).fit(context)
    assert isinstance(fitted, Trained if steps else Unedited)
    assert context.report.counts.get("optimizer_steps", 0) == steps
    assert context.report.samples_used == samples
    assert clock.exhausted is exhausted
    assert ticks.time <= budget


def test_long_prompts_lose_history_and_too_long_answers_are_counted(make_context, lm):
    context = make_context(lm=lm)
    example = context.users[0].examples[0]
    whole = training_prompt(context, 256, example, [example.answer])
    length = lm.count_tokens(whole)
    assert training_prompt(context, length, example, [example.answer]) == whole
    short = training_prompt(context, length - 1, example, [example.answer])
    assert lm.count_tokens(short) < length
    assert context.report.counts == {"prompts_shortened": 1}
    assert training_prompt(context, length, example, ["coffee " * length]) is None
    assert context.report.counts["examples_too_long"] == 1
