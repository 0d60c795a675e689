"""Every method keeps the promises of `harness.api`, on a causal model and, where it can, on an encoder-decoder."""

import pytest

from harness.conformance.toys import ToyTask
from harness.methods.aloe import Aloe
from harness.methods.caa import Caa
from harness.methods.chameleon.method import Chameleon
from harness.methods.controls.fixed_answers import Constant, UserMajority
from harness.methods.controls.no_history import NoHistory
from harness.methods.controls.other_directions import MeanDifference, RandomDirection, RandomOffset
from harness.methods.controls.other_users import (
    ShuffledAloe,
    ShuffledDpo,
    ShuffledHistory,
    ShuffledLlmRec,
    ShuffledOppu,
    ShuffledPag,
    ShuffledPrompt,
    ShuffledRag,
    ShuffledStyleVector,
)
from harness.methods.dpo import Dpo
from harness.methods.instruct import Instruct
from harness.methods.llm_rec import LlmRec
from harness.methods.oppu import Oppu
from harness.methods.pag import Pag
from harness.methods.rag import Rag
from harness.methods.style_vector import StyleVector
from harness.model.lm import HuggingFaceModel
from harness.registry import CONTROLS, METHODS
from harness.testing import check_method
from tests.toy_free_text import ToyFreeText

SMALL = {"ccs": {"epochs": 30, "restarts": 2}, "insight_tokens": 4}
BRIEF = {"max_new_tokens": 4}
FAST = {"learning_rate": 1e-2, "batch_size": 4, "accumulation": 1}
LORA = {"r": 2, "alpha": 4}


WITHOUT_TRAINING = [
    (Instruct, {}),
    (LlmRec, BRIEF),
    (LlmRec, {**BRIEF, "strategy": "both", "placement": "replace"}),
    (Rag, {"k": 2}),
    (Rag, {"k": 2, "by": "dense"}),
    (Pag, {**BRIEF, "k": 2}),
    (Pag, {**BRIEF, "by": None}),
    (Caa, {}),
    (Caa, {"site": "block", "edit_positions": "answer"}),
    (StyleVector, {"layers": [0, 2]}),
    (Chameleon, SMALL),
    (Chameleon, {**SMALL, "eval_prompt": "insight", "edit": "neutral", "position": "answer_start"}),
    (Chameleon, {**SMALL, "pair_text": "history", "identification": "ccs", "edit": "personalized"}),
    (RandomDirection, {**SMALL, "subspace": "principal"}),
    (ShuffledHistory, SMALL),
    (MeanDifference, SMALL),
    (ShuffledLlmRec, BRIEF),
    (ShuffledPag, {**BRIEF, "k": 2}),
    (ShuffledStyleVector, {"layers": [0, 2]}),
    (RandomOffset, {}),
    (Constant, {}),
    (UserMajority, {}),
    (NoHistory, {}),
]
SHOWING_OTHERS = [ShuffledPrompt, ShuffledRag]
TRAINED = [
    (Aloe, FAST),
    (Aloe, {**FAST, "training": "lora", "lora": LORA, "accumulation": 2}),
    (ShuffledAloe, FAST),
    (Dpo, {**FAST, "lora": LORA}),
    (ShuffledDpo, {**FAST, "lora": LORA}),
    (Oppu, {**FAST, "lora": LORA, "items": 2, "num_epochs": 1}),
    (ShuffledOppu, {**FAST, "lora": LORA, "items": 2, "num_epochs": 1}),
]


def test_every_registered_method_is_checked():
    registered = {registry.get(name) for registry in (METHODS, CONTROLS) for name in registry.names()}
    assert {*SHOWING_OTHERS, *(method for method, _ in [*WITHOUT_TRAINING, *TRAINED])} >= registered


@pytest.mark.parametrize(("method", "config"), WITHOUT_TRAINING)
def test_methods_without_training(method, config, toy_source: HuggingFaceModel):
    check_method(method, config, lm=toy_source)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("method", "config"),
    [
        (Instruct, {}),
        (LlmRec, BRIEF),
        (StyleVector, {}),
        (Chameleon, SMALL),
    ],
)
def test_encoder_decoders(method, config, t5: HuggingFaceModel):
    check_method(method, config, lm=t5, task=ToyFreeText())


@pytest.mark.parametrize(("method", "config"), TRAINED)
def test_methods_that_train(method, config, toy_source: HuggingFaceModel):
    check_method(method, config, lm=toy_source)


@pytest.mark.thorough
@pytest.mark.parametrize(("method", "config"), TRAINED[1:])  # in full besides in test_seq2seq.py
def test_methods_that_train_encoder_decoders(method, config, t5: HuggingFaceModel):
    check_method(method, config, lm=t5)


@pytest.mark.parametrize(
    ("method", "config"),
    [
        (Instruct, {}),
        (LlmRec, BRIEF),
        (Rag, {"k": 2}),
        (Pag, {**BRIEF, "k": 2}),
        (StyleVector, {}),
        (Chameleon, {**SMALL, "group_size": 1, "min_pairs": 2, "num_layers": 1}),
        (UserMajority, {}),
        (Oppu, {**FAST, "lora": LORA, "items": 2, "num_epochs": 1, "task_adapter": False}),
    ],
)
def test_individual_methods_share_nothing(method, config, toy_source: HuggingFaceModel):
    check_method(method, config, lm=toy_source, shares_users=False)


@pytest.mark.parametrize("method", SHOWING_OTHERS)
def test_what_shows_the_history_of_others_conforms_but_for_that(method, toy_source: HuggingFaceModel):
    with pytest.raises(AssertionError, match="a word of one user's history is in another user's prompt"):
        check_method(method, {}, lm=toy_source)


def test_conformance_catches_a_leak_between_users(toy_source: HuggingFaceModel):
    class Leaky(LlmRec):
        def _write(self, context, users):
            return {user.id: context.users[0].history[0].text for user in users}

    with pytest.raises(AssertionError, match="another user's prompt"):
        check_method(Leaky, lm=toy_source)


def test_conformance_catches_a_method_that_loads_data(toy_source: HuggingFaceModel):
    class Peeking(Instruct):
        def fit(self, context):
            context.task.load("synthetic", "dev")
            return super().fit(context)

    with pytest.raises(AssertionError, match="asked the task for data"):
        check_method(Peeking, lm=toy_source, task=ToyTask())
