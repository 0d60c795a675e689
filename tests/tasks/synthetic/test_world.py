"""The world: deterministic, disjoint splits, answers that follow from the preferences."""

import pytest

from harness.tasks.prompts import MOVIE_TAGS
from harness.tasks.synthetic.world import LIKED_TAGS, ODDS, TASKS, synthetic_user, visible_insight


@pytest.mark.parametrize("task", TASKS)
def test_the_same_arguments_give_the_same_user(task: str) -> None:
    assert synthetic_user(task, "dev", 7) == synthetic_user(task, "dev", 7)


@pytest.mark.parametrize("task", TASKS)
def test_splits_share_no_user_id_and_draw_different_histories(task: str) -> None:
    users = [synthetic_user(task, split, index) for split in ("train", "dev", "tune") for index in range(50)]
    assert len({user.id for user in users}) == len(users)
    assert len({tuple(item.text for item in user.history) for user in users}) == len(users)


@pytest.mark.parametrize("task", TASKS)
def test_sizes_and_ids(task: str) -> None:
    user = synthetic_user(task, "dev", 0, history_size=5, queries=3)
    assert len(user.history) == 5
    assert len({item.id for item in user.history}) == 5
    assert len(user.queries) == 3


@pytest.mark.parametrize("task", TASKS)
def test_odds_are_graded_and_visible(task: str) -> None:
    odds = {query.plain_odds for index in range(60) for query in synthetic_user(task, "dev", index).queries}
    assert odds == set(ODDS)


def test_lamp2_names_liked_tags_only() -> None:
    for index in range(100):
        user = synthetic_user("lamp2", "dev", index)
        likes = user.insight.split(", ")
        assert len(likes) == LIKED_TAGS
        assert {item.label for item in user.history} <= set(likes) <= set(MOVIE_TAGS)
        assert all(query.personal in likes for query in user.queries)
        assert set(visible_insight("lamp2", user).split(", ")) == {item.label for item in user.history}


def test_lamp2_neutral_answer_is_liked_about_half_of_the_time() -> None:
    users = [synthetic_user("lamp2", "dev", index) for index in range(300)]
    same = [query.personal == query.neutral for user in users for query in user.queries]
    assert 0.4 < sum(same) / len(same) < 0.6


def test_lamp3_score_is_sentiment_plus_harshness() -> None:
    shift = {"harsh": -1, "fair": 0, "generous": 1}
    for index in range(100):
        user = synthetic_user("lamp3", "dev", index)
        for query in user.queries:
            expected = int(query.neutral) + shift[user.insight.split(" ")[0]]
            assert int(query.personal) == min(5, max(1, expected))


def test_lamp7_style_follows_the_insight() -> None:
    for index in range(100):
        user = synthetic_user("lamp7", "dev", index)
        case, words, opening, ending = user.insight.split(", ")
        tweets = [item.text for item in user.history] + [query.personal for query in user.queries]
        for tweet in tweets:
            assert tweet.isupper() == (case == "upper case")
            assert bool({"you", "really"} & set(tweet.lower().split(" "))) <= (words == "full words")
            assert bool({"u", "rly"} & set(tweet.lower().split(" "))) <= (words == "short words")
            start, end = opening.removeprefix("opening with "), ending.removeprefix("ending with ")
            assert start == "nothing" or tweet.lower().startswith(f"{start}, ")
            assert end == "nothing" or tweet.lower().endswith(end)
        assert all(query.neutral == query.text for query in user.queries)
