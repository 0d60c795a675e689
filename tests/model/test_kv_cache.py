"""Preallocated keys and values hold what transformers' concatenated ones hold."""

import torch
from transformers import DynamicCache

from harness.model.kv_cache import joined


def random_cache(rows: int, tokens: int) -> DynamicCache:
    cache = DynamicCache()
    for layer in range(2):
        cache.update(torch.randn(rows, 3, tokens, 4), torch.randn(rows, 3, tokens, 5), layer)
    return cache


def test_rows_of_all_caches_end_at_the_same_place() -> None:
    long, short = random_cache(1, 6), random_cache(2, 4)
    expected = [long.layers[1].keys.clone(), short.layers[1].keys.clone()]
    whole = joined([long, short], room=2)
    assert whole.get_seq_length() == 6
    keys = whole.layers[1].keys
    assert keys is not None
    torch.testing.assert_close(keys[:1], expected[0])
    torch.testing.assert_close(keys[1:, :, 2:], expected[1])
    assert not keys[1:, :, :2].any()


def test_updates_and_selected_rows_are_those_of_a_dynamic_cache() -> None:
    theirs = random_cache(5, 3)
    ours = joined([DynamicCache([(layer.keys, layer.values) for layer in theirs.layers])], room=4)
    for rows in ([0, 1, 2, 3, 4], [0, 4, 2], [2, 0], [0]):
        for cache in (theirs, ours):
            cache.batch_select_indices(torch.tensor(rows))
        keys, values = torch.randn(len(rows), 3, 1, 4), torch.randn(len(rows), 3, 1, 5)
        for layer in range(2):
            for one, other in zip(ours.update(keys, values, layer), theirs.update(keys, values, layer), strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert ours.get_seq_length() == theirs.get_seq_length() == 7


def test_no_step_copies_what_is_there() -> None:
    cache = joined([random_cache(2, 3)], room=2)
    before = cache.layers[0].keys
    cache.update(torch.ones(2, 3, 1, 4), torch.ones(2, 3, 1, 5), 0)
    after = cache.layers[0].keys
    assert before is not None
    assert after is not None
    assert before.data_ptr() == after.data_ptr()
