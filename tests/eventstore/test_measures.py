"""What the store counts: each value in the first bucket whose bound it does not pass."""

from eventstore.measures import Histogram


def test_a_value_falls_into_the_first_bucket_that_holds_it():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 7.0):
        histogram.add(value)
    assert histogram.counts == [2, 1, 1]
    assert (histogram.count, histogram.total) == (4, 10.0)
