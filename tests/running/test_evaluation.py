"""Answering and scoring through lm-eval: what was sent is what is logged, and nobody sees a gold."""

import hashlib
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
import pytest
import torch

from harness.api import Edits, HistoryItem, Personalizer, Query
from harness.conformance.toys import LABELS, ToyTask
from harness.running.evaluation import evaluate

HISTORIES = {f"q{number}": (HistoryItem("a", f"coffee {number}", LABELS[0]),) for number in range(4)}
QUERIES = [Query(f"q{number}", f"u{number}", f"a trail {number}") for number in range(4)]
GOLDS = {"q0": "comedy", "q1": "classic", "q2": "fantasy", "q3": "comedy"}


class Base(Personalizer):
    """The base prompt."""

    task = ToyTask()

    def prompt(self, query, history):
        return self.task.prompts.base(query.text, history)

    def save(self, directory):
        """Nothing to write."""


class Fixed(Base):
    """Answers from a table."""

    def __init__(self, answers):
        self.table = answers

    def answers(self, queries):
        return [self.table[query.id] for query in queries]


def run(lm, personalizer):
    return evaluate(lm, ToyTask(), personalizer, QUERIES, HISTORIES, GOLDS)


def test_metrics_and_samples_follow_the_answers(llama):
    result = run(llama, Fixed({"q0": "comedy", "q1": "comedy", "q2": "what?", "q3": "comedy\nand more"}))
    assert result.metrics == {"accuracy": 0.5}
    assert list(result.samples["query_id"]) == ["q0", "q1", "q2", "q3"]
    assert list(result.samples["prediction"]) == ["comedy", "comedy", "what?", "comedy"]
    assert list(result.samples["parsed"]) == [True, True, False, True]
    assert list(result.samples["accuracy"]) == [1.0, 0.0, 0.0, 1.0]
    assert list(result.samples["gold"]) == list(GOLDS.values())


def test_the_logged_prompt_is_the_personalizers_and_hashes_to_its_digest(llama):
    samples = run(llama, Base()).samples
    for query, row in zip(QUERIES, samples.itertuples(), strict=True):
        assert row.prompt == Base().prompt(query, HISTORIES[query.id])
        assert row.prompt_sha256 == hashlib.sha256(row.prompt.encode()).hexdigest()


def test_outputs_are_what_the_model_generates_alone(llama):
    samples = run(llama, Base()).samples
    alone = [llama.generate([prompt], ToyTask.max_new_tokens)[0] for prompt in samples["prompt"]]
    assert list(samples["output"]) == alone


def test_each_query_gets_its_own_users_edit(llama):
    class Edited(Base):
        def edits(self, queries):
            rows = tuple(0 if query.user == "u1" else -1 for query in queries)
            generator = torch.Generator().manual_seed(0)
            offset = 5 * torch.randn((1, 1, llama.hidden_size), generator=generator)
            return Edits(layers=(0,), rows=rows, offset=offset)

    plain, edited = run(llama, Base()).samples["output"], run(llama, Edited()).samples["output"]
    assert plain[1] != edited[1]
    assert list(plain[[0, 2, 3]]) == list(edited[[0, 2, 3]])


def test_a_prompt_that_fits_no_context_is_an_empty_answer_and_counted(llama):
    class Long(Base):
        def prompt(self, query, history):
            return super().prompt(query, history) + (" coffee" * 1000 if query.id == "q2" else "")

    result = run(llama, Long())
    assert result.unanswerable == 1
    assert result.samples["output"][2] == ""
    assert len(result.samples) == 4


def test_prompts_that_go_nowhere_are_neither_too_long_nor_shortened(llama):
    histories = {query: tuple(HistoryItem(str(n), "coffee " * 40, rank=n) for n in range(8)) for query in HISTORIES}
    result = evaluate(llama, ToyTask(), Fixed(GOLDS), QUERIES, histories, GOLDS)
    assert (result.prompts_shortened, result.prompts_emptied, result.unanswerable) == (0, 0, 0)


def test_a_long_prompt_loses_history_before_it_is_given_up(llama):
    histories = {
        query: tuple(HistoryItem(str(n), "coffee " * 40, "comedy", rank=n) for n in range(8)) for query in HISTORIES
    }
    result = evaluate(llama, ToyTask(), Base(), QUERIES, histories, GOLDS)
    assert (result.prompts_shortened, result.unanswerable) == (4, 0)
    assert all(prompt.count("\n") < 12 for prompt in result.samples["prompt"])


def test_the_patch_of_the_model_holds_while_answering_only(llama):
    seen = []

    class Patched(Base):
        @contextmanager
        def patched_model(self, lm):
            seen.append("in")
            yield
            seen.append("out")

        def answers(self, queries):
            seen.append("answers")
            return ["comedy"] * len(queries)

    run(llama, Patched())
    assert seen == ["in", "answers", "out"]


def test_a_personalizer_is_shown_no_gold(llama):
    canary = "unmistakable-gold-canary"
    witnessed = []

    class Spy(Base):
        def prompt(self, query, history):
            witnessed.append((query, history))
            return super().prompt(query, history)

        def edits(self, queries):
            witnessed.extend(queries)
            return None

    evaluate(llama, ToyTask(), Spy(), QUERIES, HISTORIES, dict.fromkeys(GOLDS, canary))
    assert {field.name for field in fields(Query)} == {"id", "user", "text"}
    assert canary not in repr(witnessed)


def test_served_users_are_counted_once(llama):
    class Some(Base):
        def serves(self, query):
            return query.user in ("u0", "u1")

        def knows(self, query):
            return query.user == "u1"

    queries = [*QUERIES, Query("q4", "u0", "a trail")]
    result = evaluate(llama, ToyTask(), Some(), queries, {**HISTORIES, "q4": ()}, {**GOLDS, "q4": "comedy"})
    assert (result.users_served, result.users_known) == (2, 1)
    assert not result.serves_newcomers
    whole = run(llama, Base())
    assert whole.users_known == whole.users_served == len({query.user for query in QUERIES})
    assert whole.serves_newcomers


@pytest.mark.parametrize("answers", [["comedy"] * 4, ["nothing"] * 4])
def test_the_aggregate_is_the_mean_of_the_column(llama, answers):
    result = run(llama, Fixed(dict(zip(GOLDS, answers, strict=True))))
    assert result.metrics["accuracy"] == np.mean(result.samples["accuracy"])
