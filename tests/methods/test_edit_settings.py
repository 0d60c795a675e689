"""Where and how strongly Chameleon and CAA edit: settings reach the edits, and directions are NumPy's."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from harness.api import Edits
from harness.conformance.toys import ToyTask, toy_queries, toy_users
from harness.methods.caa import Caa, CaaConfig
from harness.methods.chameleon.ccs import CcsConfig
from harness.methods.chameleon.directions import Grouped, find_directions
from harness.methods.chameleon.insights import Insights
from harness.methods.chameleon.method import Chameleon, ChameleonConfig
from harness.methods.chameleon.preference_pairs import OutputPair, dissimilar, generate_pairs, represent_pairs
from harness.methods.chameleon.steering import Steering
from harness.methods.controls.other_directions import (
    MeanDifference,
    MeanDifferenceConfig,
    RandomDirection,
    RandomDirectionConfig,
    mean_change,
)
from harness.methods.style_vector import StyleVector

QUICK = {"ccs": CcsConfig(restarts=1, epochs=1), "num_layers": 2, "insight_tokens": 8}


def chameleon(**config):
    return Chameleon(ChameleonConfig(**QUICK, **config))


@pytest.mark.parametrize(
    ("method", "config"),
    [
        (Chameleon, ChameleonConfig(**QUICK, site="block", edit_positions="answer", bounded=True)),
        (MeanDifference, MeanDifferenceConfig(**QUICK, site="block", edit_positions="answer")),
        (Caa, CaaConfig(site="block", edit_positions="answer")),
        (StyleVector, CaaConfig(site="block", edit_positions="answer")),
    ],
)
def test_site_and_positions_are_in_the_edits_and_come_back_from_disk(make_context, tmp_path, method, config):
    context = make_context()
    fitted = method(config).fit(context)
    fitted.save(tmp_path)
    queries = toy_queries(context.users)
    for personalizer in (fitted, Steering.load(tmp_path, context.task)):
        edits = personalizer.edits(queries)
        assert (edits.site, edits.positions) == ("block", "answer")
        assert edits.bounded == (method is Chameleon)


@pytest.mark.parametrize("setting", [{"bounded": True}, {"edit": "neutral"}, {"identification": "svd"}])
def test_the_mean_difference_refuses_settings_that_an_offset_has_no_use_for(setting):
    with pytest.raises(ValidationError):
        MeanDifferenceConfig(**setting)


@pytest.mark.parametrize("method", [chameleon(), Caa(CaaConfig())])
def test_by_default_edits_are_the_papers(make_context, method):
    context = make_context()
    edits = method.fit(context).edits(toy_queries(context.users))
    assert (edits.site, edits.positions, edits.strength, edits.bounded) == ("mlp", "all", None, False)


def test_strength_is_that_of_every_layer_and_group(make_context):
    context = make_context()
    fitted = chameleon(strength=0.25, group_size=2, min_pairs=1).fit(context)
    edits = fitted.edits(toy_queries(context.users))
    assert torch.equal(edits.strength, torch.full((3, len(edits.layers)), 0.25))


def test_random_directions_change_as_much_as_a_weaker_edit(make_context):
    strengths = []
    for strength in (1.0, 0.1):
        context = make_context()
        config = RandomDirectionConfig(**QUICK, identification="svd", edit="personalized", strength=strength)
        edits = RandomDirection(config).fit(context).edits(toy_queries(context.users))
        strengths.append(edits.strength)
    torch.testing.assert_close(strengths[1], 0.1 * strengths[0])


def test_the_size_of_a_bounded_edit_is_that_of_its_equations():
    random = torch.Generator().manual_seed(0)
    pairs, (personal, neutral) = torch.randn(2, 1, 2, 5, 6, generator=random), torch.randn(2, 1, 2, 6, generator=random)
    strength = torch.tensor([[1.0, 3.0]])
    found = mean_change(pairs, torch.ones(1, 5), Edits((0, 1), (), personal, neutral, bounded=True), strength)
    x, s = pairs.double().numpy(), strength.double().numpy()[..., None, None]
    p, n = (
        bank.double().numpy()[:, :, None] / np.linalg.norm(bank, axis=-1)[..., None, None]
        for bank in (personal, neutral)
    )
    y = x + s * np.tanh((x * p).sum(-1, keepdims=True)) * p
    y = y - s * (y * n).sum(-1, keepdims=True) * n
    np.testing.assert_allclose(found, np.linalg.norm(y - x, axis=-1).mean((0, 3)), rtol=1e-5)


def test_pairs_are_represented_at_the_site(make_context):
    context = make_context()
    example = context.users[0].examples[0]
    pairs = generate_pairs(context, [example], {example.user: Insights("x", "y")}, "answer_start", "block")
    recorded = represent_pairs(context, pairs, "full", "answer_start", "block")
    expected = context.lm.represent([pairs[0].personal_prompt], [pairs[0].personal], "answer_start", "block")
    torch.testing.assert_close(recorded.personal, expected, rtol=1e-4, atol=1e-4)


def test_svd_of_differences_is_numpys_for_both_sides():
    personal, neutral = torch.randn(2, 9, 3, 6, generator=torch.Generator().manual_seed(0)).unbind()
    grouped = Grouped.of(personal, neutral, [[0, 1, 2, 3, 4], [5, 6, 7, 8]])
    found = find_directions(grouped, "svd_difference", CcsConfig(restarts=1, epochs=1), 0, 3)
    assert torch.equal(found.personal, found.neutral)
    for group, rows in enumerate(([0, 1, 2, 3, 4], [5, 6, 7, 8])):
        for layer in range(3):
            difference = (personal - neutral)[rows, layer].numpy()
            expected = np.linalg.svd(difference)[2][0]
            assert abs(expected @ found.personal[group, layer].numpy()) == pytest.approx(1, abs=1e-5)


def test_pairs_too_alike_in_embedding_space_are_dropped_and_counted(make_context):
    vectors = {"a": (1.0, 0.0), "b": (2.0, 0.0), "c": (1.0, 1.0), "d": (0.0, 3.0)}  # cosines to a: 1, 0.71, 0
    context = make_context(embedder=lambda texts: np.array([vectors[text] for text in texts], dtype=np.float32))
    example = context.users[0].examples[0]
    pairs = [OutputPair(example, "p", "n", "a", other) for other in "bcd"]
    assert [pair.neutral for pair in dissimilar(context, pairs, 0.8)] == ["c", "d"]
    assert context.report.counts["similar_outputs"] == 1
    assert dissimilar(context, [], 0.8) == []


def test_all_pairs_too_alike_leave_no_edit(make_context):
    context = make_context()  # whose embedder gives one vector to all texts
    fitted = chameleon(max_similarity=0.9).fit(context)
    assert fitted.edits(toy_queries(context.users)) is None
    assert context.report.counts["similar_outputs"] == 12 - context.report.counts["identical_outputs"]
    with pytest.raises(ValidationError):
        ChameleonConfig(max_similarity=1.5)


def test_caa_takes_and_adds_its_difference_at_the_block(make_context, toy_source):
    context = make_context(users=toy_users(2, examples=1))
    edits = Caa(CaaConfig(site="block")).fit(context).edits(toy_queries(context.users))
    assert edits.site == "block"
    lm, prompts, found = toy_source.pristine(), ToyTask().prompts, []
    for user in context.users:
        example = user.examples[0]
        asked = prompts.neutral(example.query, example.history, prompts.generic_insight)
        [neutral] = lm.generate([asked], context.task.max_new_tokens, one_line=True)
        prompt = prompts.base(example.query, example.history)
        one, other = lm.represent([prompt] * 2, [example.answer, neutral.strip()], "last", "block")
        found.append(one[1] - other[1])
    torch.testing.assert_close(edits.offset[0, 0], torch.stack(found).mean(dim=0), atol=1e-4, rtol=1e-3)
