"""Training tokens against a count by hand: every pass reads prompts and answers, the reference's passes too."""

import pytest

from harness.methods.fine_tuning.trainer import fit_weights
from harness.methods.fine_tuning.training_data import Row
from harness.running.clock import BudgetClock
from tests.methods.trained import LORA, Ticks, aloe, dpo

ROWS = [
    Row("A movie in the city. Which tag? Your answer:", {"chosen": "comedy", "rejected": "classic tag"}, "u"),
    Row("A letter. Your answer:", {"chosen": "fantasy or romance", "rejected": "a"}, "v"),
    Row("A longer movie about two towns. Which tag? Your answer:", {"chosen": "a tag", "rejected": "b"}, "w"),
]
COMPLETIONS = [Row(row.prompt, {"completion": row.answers["chosen"]}, row.user) for row in ROWS]


def read(lm, row):
    """Tokens of a pass over a row: its answers with their ends, and its prompt, T5's once for each of them."""
    prompts = len(row.answers) if lm.is_encoder_decoder else 1
    answers = sum(len(lm.answer_ids(answer)) + 1 for answer in row.answers.values())
    return prompts * lm.count_tokens(row.prompt) + answers


@pytest.fixture(params=["decoder", "encoder-decoder"])
def fitting(request, make_context, toy_source, t5, monkeypatch):
    """A context with an ample budget."""
    clock = BudgetClock(10_000.0, Ticks(monkeypatch))
    source = toy_source if request.param == "decoder" else t5
    return make_context(lm=source.pristine(), clock=clock)


def test_sft_reads_every_row_once_per_epoch_and_the_newest_before(fitting):
    method = aloe(num_epochs=2, max_length=64)
    forecast = method.config.forecast(fitting, COMPLETIONS, None)
    fit_weights(fitting, forecast, None, lambda data: method._trainer(fitting, data, None))
    rows = [read(fitting.lm, row) for row in COMPLETIONS]
    assert fitting.report.samples_used == 6
    assert fitting.lm.tokens_in == 2 * sum(rows) + rows[-1]


def test_dpo_reads_both_answers_in_every_epoch_and_once_with_the_reference(fitting):
    method = dpo(num_epochs=2, max_length=64)
    forecast = method.config.forecast(fitting, ROWS, LORA, reference=True)
    fit_weights(fitting, forecast, LORA, lambda data: method._trainer(fitting, data))
    rows, newest = [read(fitting.lm, row) for row in ROWS], ROWS[-1]
    answers = sum(len(fitting.lm.answer_ids(answer)) + 1 for answer in newest.answers.values())
    before = 2 * fitting.lm.count_tokens(newest.prompt) + answers  # generation and likelihoods count unshared prompts
    assert fitting.lm.tokens_in == (2 + 1) * sum(rows) + before


def test_training_tokens_stand_among_those_of_the_fit(make_context):
    context = make_context()
    aloe().fit(context)
    examples = [example for user in context.users for example in user.examples]
    answers = sum(len(context.lm.answer_ids(example.answer)) + 1 for example in examples)
    assert context.lm.tokens_in > answers
