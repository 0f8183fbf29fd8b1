"""The percentile of parts is that of the whole, and no part is kept."""

import weakref

import numpy as np
import pytest

from partunroll.volumes.streamed_percentile import streamed_percentile


@pytest.mark.parametrize("count", [1, 2, 7, 1000, 1001, 12345])
@pytest.mark.parametrize("percent", [50.0, 99.9, 100.0])
def test_it_is_that_of_all_values_together(count, percent):
    values = np.random.default_rng(count).random(count).astype(np.float32)
    parts = np.array_split(values, [count // 5, count // 2, count // 2, count - 1])
    found = streamed_percentile(parts, count, percent)
    assert found == pytest.approx(float(np.percentile(values, percent)), rel=1e-6)


def test_equal_values_are_counted():
    values = np.repeat(np.array([0.0, 1.0, 2.0], np.float32), [990, 9, 1])
    for order in (values, values[::-1]):
        found = streamed_percentile(np.array_split(order, 7), 1000, 99.5)
        assert found == np.percentile(values, 99.5) == 1.0


def test_what_was_read_is_let_go():
    """A view of every part was kept once: the whole volume in memory."""
    alive = []

    def parts():
        for seed in range(6):
            part = np.random.default_rng(seed).random((4, 5000))
            alive.append(weakref.ref(part))
            yield part
            del part
            assert sum(ref() is not None for ref in alive) <= 2

    streamed_percentile(parts(), 120000, 99.9)
