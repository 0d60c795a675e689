"""ALOE and DPO train on the tokens that they are asked with later; nothing is dropped in silence."""

import json

import pytest
from pydantic import ValidationError

from harness.api import Example, HarnessError
from harness.conformance.toys import toy_model, toy_users
from harness.methods.aloe import AloeConfig
from harness.methods.base_prompt import Unedited
from harness.methods.fine_tuning.trainer import fit_weights
from harness.methods.fine_tuning.training_data import Row, training_prompt
from harness.model.encoding import Encoder
from tests.methods.trained import LORA, aloe, dpo
from tests.toy_free_text import ToyFreeText

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
    assert isinstance(aloe(max_length=10).fit(context), Unedited)


def test_records_dropped_by_trl_are_an_error(make_context):
    context = make_context()
    rows = [Row("x " * length, {"completion": "y"}, "u") for length in (1, 900)]
    with pytest.raises(HarnessError, match="kept 1 of 2"):
        fit_weights(
            context,
            aloe().config.forecast(context, rows, None),
            None,
            lambda data: aloe()._trainer(context, data, None),
        )


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


def test_general_data_keeps_the_line_separators_that_json_allows_inside_text(make_context, tmp_path):
    path = tmp_path / "general.jsonl"
    text = "one\u2028two\u2029three\x85four"
    path.write_text(json.dumps({"prompt": text, "completion": "done"}, ensure_ascii=False), encoding="utf-8")
    method = aloe(general_data=path, general_fraction=0.5)
    assert [row.prompt for row in method._general_rows(make_context(), 1)] == [text]


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
