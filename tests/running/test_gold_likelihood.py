"""Preference likelihood: what is measured equals a plain forward pass of transformers, and disturbs nothing else."""

import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from harness.api import Edits, HistoryItem, Personalizer, Query
from harness.conformance.toys import LABELS, ToyTask
from harness.running.evaluation import evaluate
from tests.toy_free_text import ToyFreeText

HISTORIES = {f"q{number}": (HistoryItem("a", f"coffee {number}", LABELS[0]),) for number in range(4)}
QUERIES = [Query(f"q{number}", f"u{number}", f"a trail {number}") for number in range(4)]
GOLDS = {"q0": "comedy", "q1": "classic", "q2": "fantasy", "q3": "a lonely trail"}  # the last is no label


@pytest.fixture(params=["llama", "t5"])
def lm(request, tiny_lm):
    return tiny_lm(request.param)


class Base(Personalizer):
    """The base prompt."""

    def __init__(self, task=None):
        self.task = task or ToyTask()

    def prompt(self, query, history):
        return self.task.prompts.base(query.text, history)

    def save(self, directory):
        """Nothing to write."""


class Offset(Base):
    """Adds a vector to the first layer's MLP output, for every user another, for the last none."""

    def edits(self, queries):
        bank = torch.randn((3, 1, 32), generator=torch.Generator().manual_seed(0))
        rows = [int(query.user[1:]) for query in queries]
        return Edits(layers=(0,), rows=tuple(row if row < 3 else -1 for row in rows), offset=bank)


class Adapter(Base):
    """Puts a LoRA with random weights into the model while it answers."""

    @contextmanager
    def patched_model(self, lm):
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(0)
        bare = lm.model
        config = LoraConfig(r=2, target_modules=["gate_proj", "wi_0"], init_lora_weights=False)
        lm.model = get_peft_model(bare, config).eval()
        try:
            yield
        finally:
            lm.model = lm.model.unload()


class FromElsewhere(Base):
    def answers(self, queries):
        return ["comedy"] * len(queries)


def run(lm, personalizer, task=None, golds=GOLDS, likelihood=True):
    return evaluate(lm, task or ToyTask(), personalizer, QUERIES, HISTORIES, golds, likelihood=likelihood)


def log_p(lm, prompt, answer, offset=None):
    """(sum, tokens): log p of an answer and its end by one unpadded forward pass of transformers."""
    source, target = lm.prompt_ids(prompt), [*lm.answer_ids(answer), lm.answer_end]
    if lm.is_encoder_decoder:
        start = lm.model.generation_config.decoder_start_token_id
        inputs = {"input_ids": torch.tensor([source]), "decoder_input_ids": torch.tensor([[start, *target[:-1]]])}
        mlp, first = lm.model.get_decoder().block[0].layer[-1].DenseReluDense, 0
    else:
        inputs = {"input_ids": torch.tensor([source + target[:-1]])}
        mlp, first = lm.model.get_decoder().layers[0].mlp, len(source) - 1
    handle = None if offset is None else mlp.register_forward_hook(lambda module, given, out: out + offset)
    with torch.no_grad():
        logits = lm.model(**inputs).logits[0, first:]
    if handle is not None:
        handle.remove()
    return float(sum(logits.log_softmax(-1)[place, token] for place, token in enumerate(target))), len(target)


def offset_of(query):
    bank = torch.randn((3, 1, 32), generator=torch.Generator().manual_seed(0))
    row = int(query.user[1:])
    return bank[row, 0] if row < 3 else None


@pytest.mark.parametrize("kind", [Base, Offset, Adapter])
@pytest.mark.parametrize("task", [ToyTask(), ToyFreeText()], ids=["labels", "free text"])
def test_log_p_per_token_and_likeliest_label_are_those_of_a_plain_forward_pass(lm, kind, task):
    personalizer = kind(task)
    samples = run(lm, personalizer, task).samples
    with personalizer.patched_model(lm):
        for query, row in zip(QUERIES, samples.to_dict("records"), strict=True):
            offset = offset_of(query) if kind is Offset else None
            total, tokens = log_p(lm, row["prompt"], row["gold"], offset)
            assert row["gold_nats"] == pytest.approx(total / tokens, abs=1e-4)
            if task.labels:
                totals = {label: log_p(lm, row["prompt"], label, offset)[0] for label in task.labels}
                assert row["likely_label"] == max(totals, key=totals.get)
                assert row["label_accuracy"] == float(row["likely_label"] == row["gold"])
    assert ("likely_label" in samples) == bool(task.labels)


def test_official_columns_metrics_and_tokens_are_the_same_without_it(lm):
    with_it, read, written = run(lm, Offset()), lm.tokens_in, lm.tokens_out
    without = run(lm, Offset(), likelihood=False)
    assert with_it.metrics == without.metrics
    assert with_it.samples[without.samples.columns].equals(without.samples)
    assert without.likelihood is None
    assert not {"gold_nats", "likely_label", "label_accuracy"} & set(without.samples)
    assert read - with_it.likelihood.cost.tokens_in == lm.tokens_in - read
    assert written - with_it.likelihood.cost.tokens_out == lm.tokens_out - written


def test_what_answers_without_the_model_has_none(llama):
    result = run(llama, FromElsewhere())
    assert result.samples["gold_nats"].isna().all()
    assert result.samples["likely_label"].isna().all()
    assert (result.likelihood.queries, result.likelihood.means, result.likelihood.cost.tokens_in) == (0, {}, 0)


def test_a_gold_that_the_context_has_no_room_for_is_absent_and_counted(llama):
    class Long(Base):
        def prompt(self, query, history):
            return super().prompt(query, history) + (" coffee" * 1000 if query.id == "q2" else "")

    result = run(llama, Long(ToyFreeText()), ToyFreeText(), {**GOLDS, "q0": "coffee " * 250})
    assert list(result.samples["gold_nats"].isna()) == [True, False, True, False]
    assert result.unanswerable == 1
    assert result.likelihood.queries == 2
    assert result.likelihood.means["gold_nats"] == pytest.approx(np.nanmean(result.samples["gold_nats"]))


def test_a_model_without_finite_numbers_has_no_likeliest_label_and_its_queries_are_counted(lm):
    class Diverged(Offset):
        def edits(self, queries):
            found = super().edits(queries)
            found.offset[0] = math.nan  # of the first user alone
            return found

    result, sound = run(lm, Diverged()), run(lm, Offset())
    names = ["gold_nats", "likely_label", "label_accuracy", "neutral_nats", "neutral_changed"]
    assert result.samples.loc[0, names].isna().all()
    assert (result.not_finite, result.likelihood.queries) == (1, 3)
    assert (sound.not_finite, sound.likelihood.queries) == (0, 4)
    assert list(result.samples["likely_label"][1:]) == list(sound.samples["likely_label"][1:])


def test_of_equally_likely_labels_the_first_of_the_task_is_the_likeliest(llama):
    class Ratings(ToyTask):
        labels = ("4", "2", "3")

    llama.model.lm_head.weight.data.zero_()  # every token is as likely as any other
    samples = run(llama, Base(Ratings()), Ratings(), dict.fromkeys(GOLDS, "3")).samples
    assert list(samples["gold_nats"]) == pytest.approx(
        [-math.log(llama.model.config.vocab_size)] * len(QUERIES), abs=1e-4
    )
    assert list(samples["likely_label"]) == ["4"] * len(QUERIES)
    assert list(samples["label_mae"]) == [1.0] * len(QUERIES)


def test_labels_that_are_numbers_have_a_distance(llama):
    class Ratings(ToyTask):
        labels = ("1", "2", "3", "4", "5")

    golds = {"q0": "1", "q1": "5", "q2": "3", "q3": "2"}
    samples = run(llama, Base(Ratings()), Ratings(), golds).samples
    assert list(samples["label_mae"]) == [abs(int(a) - int(b)) for a, b in samples[["likely_label", "gold"]].to_numpy()]
    assert "label_mae" not in run(llama, Base(Ratings()), Ratings(), {**golds, "q3": "two"}).samples


def test_the_personalizer_is_shown_no_gold(llama):
    witnessed = []

    class Spy(Base):
        def edits(self, queries):
            witnessed.extend(queries)
            return None

    run(llama, Spy(), golds=dict.fromkeys(GOLDS, "canary"))
    assert set(witnessed) == set(QUERIES)


def test_edits_are_repeated_for_every_label_of_their_own_query(llama):
    by_one = [
        evaluate(llama, ToyTask(), Offset(), [query], HISTORIES, GOLDS, likelihood=True).samples for query in QUERIES
    ]
    together = run(llama, Offset()).samples
    assert list(together["gold_nats"]) == pytest.approx([float(one["gold_nats"][0]) for one in by_one], abs=1e-4)
