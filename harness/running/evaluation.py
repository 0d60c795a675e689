"""Answering and scoring through lm-eval: one in-memory task per cell, whose prompts are the personalizer's.

`lm_eval.evaluate` is called once per cell, not `simple_evaluate`, which reseeds every generator and costs a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import lm_eval
import numpy as np
import pandas as pd
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask
from torch import Tensor

from harness.api import HistoryItem, LanguageModel, Metric, Personalizer, Query, Task
from harness.running.context import FittedPrompt, fit_prompt
from harness.running.gold_likelihood import Cost, Likelihood, candidates, gold_likelihood
from harness.running.own_words import own_words
from harness.running.side_effects import ask, side_effects

_NEWCOMER = Query(id="newcomer", user="\0newcomer", text="")  # the user of no data


@dataclass
class Evaluation:
    """What one evaluation gave. `samples` has one row per query, in the order of the queries."""

    metrics: dict[str, float]
    samples: pd.DataFrame
    prompts_shortened: int
    additions_left_out: int  # prompts without the method's note or insight, which had no room
    prompts_emptied: int  # of those that were asked, prompts whose whole history had to go
    unanswerable: int
    users_served: int
    users_known: int  # who get all that anybody gets
    serves_newcomers: bool  # whether users that the fit has never seen get what all others do
    not_finite: int = 0  # queries to which the model's numbers are NaN or infinite, as far as they were measured
    likelihood: Likelihood | None = None  # of the gold answers; its columns are among those of `samples`


@dataclass(frozen=True)
class Prompt(FittedPrompt):
    """The text for one query; `bare` where what the method adds had to go."""

    bare: bool = False


def evaluate(
    lm: LanguageModel,
    task: Task,
    personalizer: Personalizer,
    queries: Sequence[Query],
    histories: Mapping[str, Sequence[HistoryItem]],
    golds: dict[str, str],
    on_answers: Callable[[int], None] | None = None,
    likelihood: bool = False,
) -> Evaluation:
    """Answer `queries` and score the answers. The personalizer sees queries and histories (by query id), no `golds`.

    `on_answers` is told how many queries are answered so far. `likelihood`: measure the gold answers' beside them.
    """
    prompts = {query.id: _prompt(lm, task, personalizer, query, histories[query.id]) for query in queries}
    to_score = candidates(lm, task, queries, prompts, golds) if likelihood else {}
    by_id = {query.id: query for query in queries}
    adapter = _PersonalizedLM(lm, task, personalizer, by_id, prompts, to_score, on_answers)
    with personalizer.patched_model(lm):
        results = lm_eval.evaluate(
            lm=adapter,
            task_dict={task.name: _lm_eval_task(task, queries, prompts, golds)},
            bootstrap_iters=0,
            log_samples=True,
        )
        with adapter.cost.of(lm):
            neutral = ask(lm, personalizer, queries) if likelihood and adapter.generated else [None] * len(queries)
    logged = sorted(results["samples"][task.name], key=lambda sample: sample["doc_id"])
    samples = pd.DataFrame([_row(task, sample, golds, by_id) for sample in logged])
    measured = None
    if likelihood:
        with adapter.cost.of(lm):
            effects = side_effects(lm, neutral)
        gold = gold_likelihood(lm, task, queries, golds, adapter.scored)
        measured = Likelihood(pd.concat([gold, effects], axis=1), adapter.cost)
    asked = prompts if adapter.generated else {}  # of a control that has its answers from elsewhere they go nowhere
    return Evaluation(
        metrics={metric.name: float(results["results"][task.name][f"{metric.name},none"]) for metric in task.metrics},
        samples=samples if measured is None else pd.concat([samples, measured.samples], axis=1),
        prompts_shortened=sum(prompt.dropped > 0 for prompt in asked.values()),
        additions_left_out=sum(prompt.bare for prompt in asked.values()),
        prompts_emptied=sum(
            prompt.fits and 0 < prompt.dropped == len(histories[query]) for query, prompt in asked.items()
        ),
        unanswerable=sum(not prompt.fits for prompt in asked.values()),
        users_served=len({query.user for query in queries if personalizer.serves(query)}),
        users_known=len({query.user for query in queries if personalizer.knows(query)}),
        serves_newcomers=personalizer.knows(_NEWCOMER),
        not_finite=adapter.not_finite,
        likelihood=measured,
    )


def _prompt(
    lm: LanguageModel, task: Task, personalizer: Personalizer, query: Query, history: Sequence[HistoryItem]
) -> Prompt:
    whole, bare = personalizer.prompt(query, history), personalizer.bare_prompt(query, history)
    if whole != bare and lm.count_tokens(whole) <= lm.room(task.max_new_tokens):
        return Prompt(whole, dropped=0, fits=True)
    fitted = fit_prompt(lm, lambda items: personalizer.bare_prompt(query, items), history, task.max_new_tokens)
    return Prompt(fitted.text, fitted.dropped, fitted.fits, bare=whole != bare)


class _PersonalizedLM(LM):
    """lm-eval's view of a language model that answers each query with its user's edits."""

    def __init__(
        self,
        lm: LanguageModel,
        task: Task,
        personalizer: Personalizer,
        queries: dict[str, Query],
        prompts: dict[str, Prompt],
        candidates: Mapping[str, Sequence[str]],
        on_answers: Callable[[int], None] | None,
    ) -> None:
        super().__init__()
        self._lm = lm
        self._max_new_tokens = task.max_new_tokens
        self._personalizer = personalizer
        self._queries = queries
        self._prompts = prompts
        self._candidates = candidates
        self._on_answers = on_answers
        self.generated = False  # by the model; a control may have its answers from elsewhere
        self.scored: dict[str, Tensor] = {}  # log p of a query's candidates, where all are finite
        self.not_finite = 0  # queries where they are not
        self.cost = Cost()  # of these, beside answering

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        asked = [self._queries[request.doc["query_id"]] for request in requests]
        answers = self._personalizer.answers(asked)
        self.generated = answers is None
        return self._generate(asked) if answers is None else answers

    def _generate(self, asked: list[Query]) -> list[str]:
        fitting = [query for query in asked if self._prompts[query.id].fits]
        found = self._lm.generate_scored(
            [self._prompts[query.id].text for query in fitting],
            [self._candidates.get(query.id, ()) for query in fitting],
            self._max_new_tokens,
            self._personalizer.edits(fitting),
            self._on_answers,
            one_line=True,
        )
        ids = [query.id for query in fitting]
        measured = {name: nats for name, nats in zip(ids, found.log_likelihoods, strict=True) if len(nats)}
        # Of numbers that are none, argmax would take the first label for the likeliest.
        self.scored = {name: nats for name, nats in measured.items() if nats.isfinite().all()}
        self.not_finite = len(measured) - len(self.scored)
        self.cost = Cost(found.seconds, found.tokens)
        by_id = dict(zip(ids, found.texts, strict=True))
        return [by_id.get(query.id, "") for query in asked]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise TypeError("The tasks of the harness generate; none asks for log-likelihoods.")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise TypeError("The tasks of the harness generate; none asks for log-likelihoods.")


def _lm_eval_task(
    task: Task, queries: Sequence[Query], prompts: dict[str, Prompt], golds: dict[str, str]
) -> ConfigurableTask:
    """Documents hold ids only; prompts and golds are looked up, so that no gold travels with a request."""
    rows = [{"query_id": query.id, "user_id": query.user} for query in queries]

    def process_results(doc: dict[str, str], outputs: list[str]) -> dict[str, tuple[str, str]]:
        pair = (task.parse(outputs[0])[0], golds[doc["query_id"]])
        return {metric.name: pair for metric in task.metrics}

    return ConfigurableTask(
        config={
            "task": task.name,
            "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(rows)},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": lambda doc: prompts[doc["query_id"]].text,
            "doc_to_target": lambda doc: "",
            "process_results": process_results,
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": task.max_new_tokens, "do_sample": False},
            "metric_list": [
                {
                    "metric": metric.name,
                    "aggregation": _aggregation(metric),
                    "higher_is_better": metric.higher_is_better,
                }
                for metric in task.metrics
            ],
            "metadata": {"version": task.version},
        }
    )


def _aggregation(metric: Metric) -> Callable[[list[tuple[str, str]]], float]:
    def aggregate(pairs: list[tuple[str, str]]) -> float:
        return float(metric.value(np.mean([metric.statistics(*pair) for pair in pairs], axis=0)))

    return aggregate


def _row(task: Task, sample: dict[str, Any], golds: dict[str, str], queries: dict[str, Query]) -> dict[str, Any]:
    output = sample["resps"][0][0]
    prompt = sample["arguments"][0][0]
    prediction, parsed = task.parse(output)
    query = queries[sample["doc"]["query_id"]]
    gold = golds[query.id]
    return {
        "user_id": sample["doc"]["user_id"],
        "query_id": query.id,
        "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
        "prompt": prompt,
        "output": output,
        "prediction": prediction,
        "gold": gold,
        "parsed": parsed,
        **_scores(task, prediction, gold),
        **({} if task.labels else own_words(query.text, prediction, gold)),
    }


def _scores(task: Task, prediction: str, gold: str) -> dict[str, float]:
    """Metrics that a single sample has; macro-F1, which needs all of them, has none."""
    statistics = {metric.name: (metric, np.asarray(metric.statistics(prediction, gold))) for metric in task.metrics}
    return {name: float(metric.value(values)) for name, (metric, values) in statistics.items() if len(values) == 1}
