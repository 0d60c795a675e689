"""`--regime unseen` fits on nobody who is evaluated, whatever the splits call the people."""

import pytest

from harness.api import HarnessError, HistoryItem, Query, TaskData
from harness.running.unseen_users import without_evaluated
from harness.tasks.lamp import Lamp2, Lamp3, Lamp7


def items(*numbers, start=0, text="text {}"):
    return tuple(HistoryItem(str(start + n), text.format(n), "4") for n in numbers)


def data(split, **histories):
    """Users who are their own questions, as in LaMP's files by user."""
    queries = [Query(user, user, f"question of {user}") for user in histories]
    return TaskData(split, dict(histories), queries, dict.fromkeys(histories, "3"), names_users=False)


def people(split, count, first=0, prefix=""):
    return data(split, **{f"{prefix}{n}": items(*range(10 * n, 10 * n + 6)) for n in range(first, first + count)})


def test_other_people_are_left_as_they_are():
    dev, train = people("dev", 10, prefix="d"), people("train", 10, first=10, prefix="t")
    assert without_evaluated(Lamp3(), dev, train) is train
    assert dev.notes == []


def test_the_same_people_under_other_ids_are_refused():
    dev, train = people("dev", 12), people("train", 12, prefix="t")
    with pytest.raises(HarnessError, match=r"12 of 12 users of dev are in train .* 0 and user t0 .* 6 of 6 items"):
        without_evaluated(Lamp3(), dev, train)


def test_an_earlier_part_of_the_same_histories_is_recognized():
    dev = people("dev", 12)
    train = data("train", **{f"t{user}": history[:4] for user, history in dev.histories.items()})
    with pytest.raises(HarnessError, match="share 4 of 4 items"):
        without_evaluated(Lamp3(), dev, train)


def test_histories_numbered_otherwise_are_recognized_by_their_texts():
    dev = people("dev", 12)
    train = data("train", **{f"t{n}": items(*range(10 * n, 10 * n + 6), start=5000) for n in range(12)})
    with pytest.raises(HarnessError, match="12 of 12 users"):
        without_evaluated(Lamp3(), dev, train)


def test_a_few_people_of_both_splits_are_left_out_and_counted():
    dev, train = people("dev", 10), people("train", 20, first=8, prefix="t")
    left = without_evaluated(Lamp3(), dev, train)
    assert list(left.histories) == [f"t{n}" for n in range(10, 28)]
    assert {query.user for query in left.queries} == set(left.histories)
    assert len(train.histories) == 20
    assert dev.notes == [
        "2 of 20 users of train were left out of the fit: they are users of dev as well, by name or by history"
    ]


def test_ids_that_count_from_zero_in_both_splits_say_nothing():
    dev = data("dev", **{f"d{n}": items(*range(6), text=f"dev {n} " + "{}") for n in range(10)})
    train = data("train", **{f"t{n}": items(*range(6), text=f"train {n} " + "{}") for n in range(10)})
    assert without_evaluated(Lamp3(), dev, train) is train


def test_what_many_people_wrote_says_nothing():
    dev, train = (data(name, **{f"{name}{n}": items(1, 2, 3) for n in range(10)}) for name in ("dev", "train"))
    assert without_evaluated(Lamp3(), dev, train) is train


def test_texts_that_recur_among_the_people_of_one_split_say_nothing():
    """Greetings, for one: of 20 users four share their texts with another of the same split."""

    def split(name, first):
        twice = {f"{name}{n}": items(*range(n // 2 * 10, n // 2 * 10 + 3), start=first + 10 * n) for n in range(4)}
        return data(name, **twice, **people(name, 16, first=first, prefix=f"{name} other ").histories)

    dev, train = split("dev", 500), split("train", 700)
    assert without_evaluated(Lamp3(), dev, train) is train
    alone = {user: history for user, history in dev.histories.items() if user not in ("dev1", "dev3")}
    assert len(without_evaluated(Lamp3(), data("dev", **alone), train).histories) == 16


@pytest.mark.parametrize("task", [Lamp2(), Lamp3(), Lamp7()], ids=lambda task: task.name)
def test_the_synthetic_splits_are_of_different_people(task):
    dev, train = task.load("synthetic", "dev"), task.load("synthetic", "train")
    assert without_evaluated(task, dev, train) is train


def test_a_shared_item_or_two_do_not_make_one_person():
    """Co-authors have papers in common."""
    dev = data("dev", a=items(*range(10)), b=items(*range(50, 60)))
    train = data("train", c=items(0, 1, *range(100, 108)), d=items(50, *range(200, 210)))
    assert without_evaluated(Lamp3(), dev, train) is train


def test_questions_numbered_alike_are_not_of_one_person_but_named_users_are():
    dev, train = people("dev", 4), people("train", 4)
    train.histories = {user: items(*range(1000 + 10 * int(user), 1006 + 10 * int(user))) for user in train.histories}
    assert without_evaluated(Lamp3(), dev, train) is train
    dev.names_users = True
    assert without_evaluated(Lamp3(), dev, train) is train
    train.names_users = True
    with pytest.raises(HarnessError, match="users 0, 1, 2 are in both"):
        without_evaluated(Lamp3(), dev, train)


def test_one_named_user_of_both_splits_is_left_out():
    dev, train = people("dev", 4, prefix="u"), people("train", 4, first=10, prefix="u")
    dev.names_users = train.names_users = True
    train.histories["u0"] = items(900, 901)
    assert "u0" not in without_evaluated(Lamp3(), dev, train).histories
    assert len(dev.notes) == 1


def test_the_same_files_under_two_names_are_refused():
    dev, train = data("dev", a=items(1)), data("train", a=items(1))
    dev.fingerprint = train.fingerprint = "0f"
    with pytest.raises(HarnessError, match="the files of train are those of dev"):
        without_evaluated(Lamp3(), dev, train)


def test_items_that_recur_among_the_people_of_one_split_say_nothing():
    """Films have one id for everybody, and some people have tagged few others."""
    dev = data("dev", **{f"d{n}": items(n % 5) for n in range(10)})
    strangers = {f"t{n}": items(n) for n in range(4)}
    train = data("train", **strangers, **people("train", 10, first=10, prefix="others ").histories)
    assert without_evaluated(Lamp3(), dev, train) is train


def test_users_without_history_are_other_people():
    dev, train = data("dev", a=(), b=()), data("train", c=(), d=())
    assert without_evaluated(Lamp3(), dev, train) is train
