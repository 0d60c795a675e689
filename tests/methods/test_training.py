"""ALOE and DPO: what training changes, what it does not, and what it accounts for."""

import pytest
import torch

from harness.conformance.toys import toy_queries, toy_users
from harness.methods.fine_tuning.weights import LoraSettings, Trained
from tests.methods.trained import aloe, dpo
from tests.toy_free_text import ToyFreeText


def test_training_changes_what_it_should_and_accounts_for_it(make_context, trainers):
    context = make_context()
    fitted = aloe(num_epochs=2).fit(context)
    assert isinstance(fitted, Trained)
    assert context.report.samples_used == 24
    assert context.report.users_fitted == 6
    assert context.report.counts["optimizer_steps"] == 12
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
def test_free_text(make_context, method):
    task = ToyFreeText()
    assert isinstance(method().fit(make_context(task=task, users=toy_users(4, task=task))), Trained)


def of_an_answer(row):
    return sum(label != -100 for label in row["labels"][1:])


def of_both_answers(row):
    return len(row["chosen_ids"]) + len(row["rejected_ids"])


@pytest.mark.parametrize(("method", "tokens"), [(aloe, of_an_answer), (dpo, of_both_answers)])
def test_the_vocabulary_is_projected_onto_where_answers_are_predicted_alone(make_context, trainers, method, tokens):
    context, projected = make_context(), []

    def count(head, given, logits):
        if torch.is_grad_enabled():
            projected.append(logits.shape[1])

    context.lm.model.get_output_embeddings().register_forward_hook(count)
    method(batch_size=1).fit(context)
    [trainer] = trainers
    assert 0 < max(projected) <= max(map(tokens, trainer.train_dataset))
    assert max(projected) < min(trainer.lengths)
