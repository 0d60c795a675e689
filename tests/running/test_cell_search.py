"""What a fit may search, and what its personalizer may while it answers: whole histories, each cell by itself."""

from harness.api import Query
from tests.running.test_cell import Plain, Probe, compute, source

__all__ = ["compute", "source"]  # fixtures


class Searching(Plain):
    """Shows what it finds, and notes who searched what."""

    def __init__(self, task, seen):
        super().__init__(task, "answer")
        self.seen = seen

    def retrieve(self, query, history, search):
        found = search.search(query, "bm25", 10)
        self.seen.append((search, history, found))
        return found


class Searcher(Probe):
    """Notes the search of its fit, and loads a personalizer that searches."""

    def __init__(self):
        self.fits, self.answers = [], []
        super().__init__(self.note)

    def note(self, context):
        sizes = [context.search.index(user.id, "bm25") for user in context.users]
        self.fits.append((context.search, sizes, context.search.search(Query("q", "stranger", "tweet"), "bm25", 3)))

    def load(self, directory, task):
        return Searching(task, self.answers)


def test_the_whole_history_is_searched_for_every_query_and_what_the_fit_indexed_serves_the_answers(compute):
    method = Searcher()
    record, samples, _ = compute(method)
    assert record.status == "complete"
    [(search, sizes, of_a_stranger)] = method.fits
    assert (sizes, of_a_stranger) == ([4, 4], ())
    assert all(used is search for used, _, _ in method.answers)
    assert [(len(selected), len(found)) for _, selected, found in method.answers] == [(3, 4), (3, 4)]
    assert all(prompt.count("my tweet number") == 4 for prompt in samples["prompt"])


def test_a_fit_searches_whole_histories_where_prompts_may_show_none(compute):
    method = Searcher()
    record, samples, _ = compute(method, eval_history="none")
    assert record.status == "complete"
    [(_, sizes, _)] = method.fits
    assert sizes == [4, 4]
    assert [(len(selected), len(found)) for _, selected, found in method.answers] == [(0, 0), (0, 0)]
    assert not samples["prompt"].str.contains("my tweet number").any()


def test_no_cell_profits_from_what_another_has_indexed(compute):
    methods = Searcher(), Searcher()
    for method in methods:
        compute(method)
    assert methods[0].fits[0][0] is not methods[1].fits[0][0]
