"""The pairs that DPO trains on: rejected answers, self-generated pairs, and the time that generating them may take."""

from collections.abc import Callable

import pytest

from harness.conformance.toys import ToyTask, toy_queries, toy_users
from harness.methods.answer_pairs import answer_pairs
from harness.methods.base_prompt import Unedited
from harness.methods.fine_tuning.weights import Trained
from harness.running.clock import BudgetClock
from tests.methods.trained import dpo


class Says:
    """A language model whose generations are scripted."""

    def __init__(self, lm, answer):
        self.lm, self.answer = lm, answer

    def __getattr__(self, name):
        return getattr(self.lm, name)

    def generate(self, prompts, max_new_tokens, edits=None, one_line=False, time_left=None):
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


class Lax(ToyTask):
    """Reads an answer whatever its case and whether or not a full stop follows, as LaMP's tasks do."""

    def parse(self, output):
        return super().parse(output.casefold().strip().removesuffix("."))


@pytest.mark.parametrize("output", ["comedy", "Comedy", "comedy.", " comedy \n"])
def test_where_a_task_has_labels_an_output_that_names_the_answer_is_identical(make_context, output):
    context = make_context(task=Lax(), users=toy_users(2, examples=1))  # comedy, classic
    context.lm = Says(context.lm, lambda prompt: output)
    examples = [user.examples[0] for user in context.users]
    assert answer_pairs(context, examples) == [(examples[1], "classic", output.strip())]
    assert context.report.counts["identical_outputs"] == 1


def test_of_free_text_only_the_answer_itself_is_identical(make_context):
    class Free(Lax):
        labels = ()

    context = make_context(task=Free(), users=toy_users(1, examples=1))
    context.lm = Says(context.lm, lambda prompt: "comedy.")
    [example] = context.users[0].examples
    assert answer_pairs(context, [example]) == [(example, "comedy", "comedy.")]


def test_dpo_without_pairs_is_the_base_prompt(make_context):
    context = make_context(users=toy_users(1, examples=1))
    context.lm = Says(context.lm, lambda prompt: "comedy")
    fitted = dpo().fit(context)
    assert isinstance(fitted, Unedited)
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


@pytest.mark.parametrize(("seconds", "samples"), [(0.0, 6), (1.0, 4)])
def test_generation_leaves_training_what_it_needs_and_its_share_at_most(make_context, seconds, samples):
    time = [0.0]
    context = make_context(clock=BudgetClock(10.0, now=lambda: time[0]), users=toy_users(6, examples=1))

    def slow(prompt: str) -> str:
        time[0] += 1.0
        return "nothing"

    def read(prompts: list[str], outputs: list[str], time_left: Callable[[], float]) -> None:
        time[0] += seconds

    context.lm = Says(context.lm, slow)
    context.lm.log_likelihood = read
    assert isinstance(dpo(generation_batch_size=1).fit(context), Trained)
    # After four examples and reading one, 5 s are left: a fifth would end in the half that training may take.
    assert context.report.samples_used == samples
    assert context.clock.exhausted is (samples < 6)
