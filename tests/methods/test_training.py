"""ALOE and DPO: what they train on, that it is what they are asked later, and that they end in time."""

import json
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from harness.api import Example, HarnessError
from harness.conformance.toys import ToyFreeText, toy_model, toy_queries, toy_users
from harness.methods.aloe import AloeConfig
from harness.methods.fine_tuning.deadline import Stopwatch
from harness.methods.fine_tuning.trainer import calibrate, fit_weights
from harness.methods.fine_tuning.training_data import Row, plain_text, training_prompt
from harness.methods.fine_tuning.weights import LoraSettings, Trained
from harness.methods.instruct import BasePrompt
from harness.model.encoding import Encoder
from harness.running.checkpoints import Checkpoints
from harness.running.clock import BudgetClock
from tests.methods.trained import LORA, Ticks, aloe, dpo

CHAT = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


@pytest.mark.parametrize("template", [None, CHAT])
def test_models_train_on_the_tokens_that_generate_sends(make_context, trainers, tmp_path, template):
    lm = toy_model(tmp_path / "model", template)
    encoder = Encoder(lm.tokenizer, False)
    context = make_context(lm=lm, users=toy_users(2, examples=1))
    aloe(training="lora", lora=LORA).fit(context)
    dpo().fit(make_context(lm=lm.pristine(), users=context.users))
    example = context.users[0].examples[0]
    prompt = encoder.prompt_ids(context.task.prompts.base(example.query, example.history))
    answer = encoder.answer_ids(example.answer)
    end = [lm.tokenizer.eos_token_id]
    sft, preference = trainers[0].train_dataset[0], trainers[-1].train_dataset[0]
    assert sft["input_ids"] == prompt + answer + end
    assert sft["labels"] == [-100] * len(prompt) + answer + end
    assert preference["prompt_ids"] == prompt
    assert preference["chosen_ids"] == answer + end
    assert preference["rejected_ids"][-1:] == end


def test_special_tokens_in_data_stay_text(toy_source):
    ids = toy_source.tokenizer(plain_text(toy_source, "a </s> b<s>"), add_special_tokens=False).input_ids
    assert not set(ids) & set(toy_source.tokenizer.all_special_ids)


def test_calibration_leaves_every_weight_as_it_is(make_context, monkeypatch, trainers):
    before, after = [], []

    def watched(trainer, *rest):
        before.append({name: weight.clone() for name, weight in trainer.model.named_parameters()})
        seconds = calibrate(trainer, *rest)
        after.append(dict(trainer.model.named_parameters()))
        return 1e9 + seconds  # nothing fits: the weights stay to be looked at

    monkeypatch.setattr("harness.methods.fine_tuning.trainer.calibrate", watched)
    for method in (aloe(), dpo()):
        context = make_context()
        assert isinstance(method.fit(context), BasePrompt)
        assert context.clock.exhausted
        assert context.report.samples_used == context.report.users_fitted == 0
    for old, new in zip(before, after, strict=True):
        assert all(torch.equal(weight, new[name]) for name, weight in old.items())


def test_training_changes_what_it_should_and_accounts_for_it(make_context, trainers):
    context = make_context()
    fitted = aloe(num_epochs=2).fit(context)
    assert isinstance(fitted, Trained)
    assert context.report.samples_used == 24
    assert context.report.users_fitted == 6
    assert context.report.counts["optimizer_steps"] == 12
    assert set(trainers[-1].lr_scheduler.get_last_lr()) == {0.0}
    assert not context.clock.exhausted


def test_training_makes_the_trained_answers_likelier(make_context, toy_source):
    context = make_context()
    fitted = aloe(num_epochs=20, training="lora", lora=LoraSettings(r=8, dropout=0.0)).fit(context)
    examples = [user.examples[0] for user in context.users]
    prompts = [context.task.prompts.base(example.query, example.history) for example in examples]
    answers = [example.answer for example in examples]
    plain = toy_source.log_likelihood(prompts, answers)
    with fitted.patched_model(toy_source):
        assert not any(module.training for module in toy_source.model.modules())
        tuned = toy_source.log_likelihood(prompts, answers)
    assert (tuned > plain + 5).all()
    assert torch.equal(toy_source.log_likelihood(prompts, answers), plain)


def test_dpo_prefers_the_chosen(make_context, toy_source):
    context = make_context()
    fitted = dpo(num_epochs=20, batch_size=4).fit(context)
    prompts = [
        fitted.prompt(query, user.history)
        for query, user in zip(toy_queries(context.users), context.users, strict=True)
    ]

    def gap() -> torch.Tensor:
        right, wrong = (toy_source.log_likelihood(prompts, [text] * len(prompts)) for text in ("comedy", "� xx"))
        return (right - wrong).mean()

    before = gap()
    with fitted.patched_model(toy_source):
        assert gap() > before + 1


@pytest.mark.parametrize("method", [aloe, dpo])
@pytest.mark.parametrize(
    ("budget", "accumulation", "steps", "exhausted"),
    [
        (20.0, 1, 6, False),  # 1 s of calibration tells that 6 s of training fit
        (7.5, 1, 3, True),  # it does not: 4 s of calibration, 3.5 s left for steps of 1.1 s
        (7.2, 1, 2, True),  # a third step might end late
        (4.5, 1, 0, True),
        (1.5, 1, 0, True),  # not even the calibration fits
        (20.0, 3, 2, False),
        (8.0, 3, 2, False),
        (7.5, 3, 1, True),
        (0.0, 1, 0, True),
    ],
)
def test_as_many_steps_as_fit_with_the_schedule_completed(
    make_context, monkeypatch, trainers, method, budget, accumulation, steps, exhausted
):
    clock = BudgetClock(budget, now=(ticks := Ticks(monkeypatch)))
    context = make_context(clock=clock)
    fitted = method(accumulation=accumulation, warmup_ratio=0.0).fit(context)
    assert context.report.counts.get("optimizer_steps", 0) == steps
    assert context.report.samples_used == steps * 2 * accumulation
    assert clock.exhausted is exhausted
    assert ticks.time <= budget + 1
    assert isinstance(fitted, Trained) is (steps > 0)
    if steps:
        assert set(trainers[-1].lr_scheduler.get_last_lr()) == {0.0}


@pytest.mark.parametrize(
    ("spans", "stops", "mean"),
    [
        ([], False, float("inf")),
        ([1.0], True, 2.5),  # 10 tokens a second: the second, of 40 tokens, would need 4 s of the 3.5 s left
        ([0.1], False, 0.25),
        ([0.1, 0.4], False, 0.4),
        ([0.1, 0.4, 0.2], True, 0.3),
    ],
)
def test_calibration_times_no_batch_that_may_not_end_in_time(spans, stops, mean):
    now = [0.0]
    clock = BudgetClock(5.5, now=lambda: now[0])
    stopwatch = Stopwatch(clock, reserve=1.0, sizes=[10, 40, 25], total=1000)
    arguments, control = SimpleNamespace(device=torch.device("cpu")), SimpleNamespace(should_training_stop=False)
    stopwatch.on_train_begin(arguments, None, control)
    for span in spans:
        now[0] += span
        stopwatch.on_step_end(arguments, None, control)
    assert control.should_training_stop is stops
    assert stopwatch.mean() == pytest.approx(mean)


def test_the_deadline_ends_a_run_that_turned_slower_than_calibrated(make_context, monkeypatch):
    monkeypatch.setattr("harness.methods.fine_tuning.trainer.calibrate", lambda *_: 0.1)
    clock = BudgetClock(3.5, now=(ticks := Ticks(monkeypatch)))
    context = make_context(clock=clock)
    fitted = aloe().fit(context)
    assert isinstance(fitted, Trained)
    assert context.report.counts["optimizer_steps"] == 3
    assert clock.exhausted
    assert ticks.time <= 3.5


def test_the_deadline_does_not_wait_for_a_long_step_to_end(make_context, monkeypatch):
    monkeypatch.setattr("harness.methods.fine_tuning.trainer.calibrate", lambda *_: 0.1)
    clock = BudgetClock(2.5, now=(ticks := Ticks(monkeypatch)))
    assert isinstance(aloe(accumulation=6).fit(make_context(clock=clock)), BasePrompt)
    assert ticks.time <= 3.5


def test_long_histories_are_shortened_and_hopeless_examples_counted(make_context):
    context = make_context()
    example = context.users[0].examples[0]
    whole = training_prompt(context, 512, example, [example.answer])
    short = training_prompt(context, context.lm.count_tokens(whole), example, [example.answer])
    assert context.lm.count_tokens(short) < context.lm.count_tokens(whole)
    assert short.endswith("Your answer:")
    assert context.report.counts["prompts_shortened"] == 1
    assert training_prompt(context, 10, example, [example.answer]) is None
    assert context.report.counts["examples_too_long"] == 1
    assert isinstance(aloe(max_length=10).fit(context), BasePrompt)


def test_records_dropped_by_trl_are_an_error(make_context):
    context = make_context()
    rows = [Row("x " * length, {"completion": "y"}, "u") for length in (1, 900)]
    with pytest.raises(HarnessError, match="kept 1 of 2"):
        fit_weights(context, rows, None, lambda data: aloe()._trainer(context, data, None))


class Says:
    """A language model whose generations are scripted."""

    def __init__(self, lm, answer):
        self.lm, self.answer = lm, answer

    def __getattr__(self, name):
        return getattr(self.lm, name)

    def generate(self, prompts, max_new_tokens, edits=None):
        return [self.answer(prompt) for prompt in prompts]


def test_dpo_rejects_the_neutral_answer_and_drops_what_equals_the_chosen(make_context, trainers):
    context = make_context(users=toy_users(3, examples=1))  # comedy, classic, fantasy
    asked = []
    context.lm = Says(context.lm, lambda prompt: asked.append(prompt) or "comedy")
    assert isinstance(dpo().fit(context), Trained)
    assert all("Your answer should be plain." in prompt for prompt in asked)
    assert context.report.counts["identical_outputs"] == 1
    decode = context.lm.tokenizer.decode
    rows = [(decode(row["chosen_ids"]), decode(row["rejected_ids"])) for row in trainers[-1].train_dataset]
    assert rows == [(" classic</s>", " comedy</s>"), (" fantasy</s>", " comedy</s>")]


def test_dpo_without_pairs_is_the_base_prompt(make_context):
    context = make_context(users=toy_users(1, examples=1))
    context.lm = Says(context.lm, lambda prompt: "comedy")
    fitted = dpo().fit(context)
    assert isinstance(fitted, BasePrompt)
    assert not fitted.serves(toy_queries(context.users)[0])
    assert context.report.counts["identical_outputs"] == 1


def test_dpo_on_self_generated_pairs(make_context, trainers):
    context = make_context(users=toy_users(3, examples=2))
    answers = {"The user prefers": "classic", "Your answer should": "comedy"}
    asked = []
    context.lm = Says(
        context.lm,
        lambda prompt: asked.append(prompt) or next((a for words, a in answers.items() if words in prompt), "insight"),
    )
    dpo(pairs="self_generated", generation_batch_size=2).fit(context)
    assert len([prompt for prompt in asked if "view?" in prompt]) == 6
    decode = context.lm.tokenizer.decode
    rows = {(decode(row["chosen_ids"]), decode(row["rejected_ids"])) for row in trainers[-1].train_dataset}
    assert rows == {(" classic</s>", " comedy</s>")}
    assert len(trainers[-1].train_dataset) == 6


def test_generation_leaves_the_training_its_share(make_context):
    time = [0.0]
    context = make_context(clock=BudgetClock(10.0, now=lambda: time[0]), users=toy_users(6, examples=1))

    def slow(prompt: str) -> str:
        time[0] += 1.0
        return "nothing"

    context.lm = Says(context.lm, slow)
    assert isinstance(dpo(generation_batch_size=1).fit(context), Trained)
    assert context.report.samples_used == 4  # the fifth second would end in the training's half
    assert context.clock.exhausted


@pytest.mark.parametrize("method", [aloe, dpo])
def test_free_text(make_context, method):
    task = ToyFreeText()
    assert isinstance(method().fit(make_context(task=task, users=toy_users(4, task=task))), Trained)


def test_general_data_is_mixed_in(make_context, trainers, tmp_path):
    path = tmp_path / "general.jsonl"
    lines = [{"prompt": f"task {number}", "completion": "done"} for number in range(30)]
    path.write_text("\n".join(map(json.dumps, [*lines, {"prompt": "long " * 600, "completion": "x"}])))
    context = make_context()
    aloe(general_data=path, general_fraction=0.5).fit(context)
    assert context.report.counts["general_examples"] == 12
    assert context.report.samples_used == 24
    assert context.report.users_fitted == 6
    texts = [context.lm.tokenizer.decode(row["input_ids"]) for row in trainers[-1].train_dataset]
    assert sum(text.startswith("task") and text.endswith(" done</s>") for text in texts) == 12
    assert texts != sorted(texts, key=lambda text: text.startswith("task"))


def test_general_data_that_cannot_be_read(make_context, tmp_path):
    with pytest.raises(ValidationError, match="general_data"):
        AloeConfig(general_fraction=0.5)
    bad = tmp_path / "bad.jsonl"
    for text in (None, "no json", '{"prompt": "x"}'):
        if text is not None:
            bad.write_text(text)
        with pytest.raises(HarnessError, match="JSONL"):
            aloe(general_data=bad, general_fraction=0.5).fit(make_context())


def test_an_example_without_an_input_is_never_trained_on(make_context):
    """Guards the contract that `examples` fills queries in."""
    context = make_context(task=ToyFreeText(), users=toy_users(2, task=ToyFreeText()))
    examples: list[Example] = [example for batch in context.examples(8) for example in batch]
    assert all(example.query is not None for example in examples)


@pytest.mark.parametrize("method", [aloe, dpo])
def test_checkpoints_are_the_weights_at_their_marks_and_leave_the_fit_as_it_is(
    make_context, monkeypatch, tmp_path, method
):
    def fit(marks):
        clock = BudgetClock(20, now=Ticks(monkeypatch))
        checkpoints = Checkpoints(marks, tmp_path / str(len(marks)), clock)
        context = make_context(clock=clock, checkpoints=checkpoints)
        return method(warmup_ratio=0.0).fit(context), checkpoints, context

    plain, _, _ = fit(())
    marked, checkpoints, context = fit((2.5, 5.0, 6.5))  # 1 s of calibration, then six steps of 1 s
    assert all(torch.equal(tensor, marked.tensors[name]) for name, tensor in plain.tensors.items())
    assert [(p.mark, p.seconds, p.samples_used) for p, _ in checkpoints.points] == [(2.5, 3.0, 4), (5.0, 5.0, 8)]
    assert [gone.mark for gone in checkpoints.missing()] == [6.5]  # the step that passes it is the last: the fit itself
    first, second = (Trained.load(folder, context.task).tensors for _, folder in checkpoints.points)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(second[name], marked.tensors[name]) for name in first)
