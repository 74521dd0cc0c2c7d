"""The order of one stratum: a pure function of its arguments that visits every row of a pass once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_ray.corpus.reading.order import Order

PINNED = (
    [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0],
    [1, 2, 0, 0, 1, 0, 1, 2, 0, 0, 0, 0, 0, 2, 1, 1, 2, 1, 2, 1, 2, 1, 2],
    [3, 0, 3, 2, 0, 3, 2, 2, 1, 0, 0, 1, 2, 1, 1, 0, 3, 2, 2, 3, 0, 1, 1],
)
ORDERS = st.builds(
    Order,
    digest=st.text("0123456789abcdef", min_size=8, max_size=8),
    seed=st.integers(0, 5),
    samples=st.integers(1, 700),
    lanes=st.sampled_from([1, 2, 3, 8, 64]),
    shard_rows=st.integers(1, 40),
    window_shards=st.integers(1, 5),
)


def everything(order: Order, epoch: int) -> list[tuple[int, int, int]]:
    return list(zip(*(a.tolist() for a in order.locate(epoch, np.arange(order.samples))), strict=True))


def on_disk(order: Order) -> set[tuple[int, int, int]]:
    return {
        (g % order.lanes, g // order.lanes // order.shard_rows, g // order.lanes % order.shard_rows)
        for g in range(order.samples)
    }


@settings(max_examples=50)
@given(ORDERS, st.integers(0, 3))
def test_an_epoch_visits_every_row_on_disk_once(order: Order, epoch: int) -> None:
    visited = everything(order, epoch)
    assert len(visited) == order.samples
    assert set(visited) == on_disk(order)


@settings(max_examples=50)
@given(ORDERS, st.integers(0, 3), st.data())
def test_any_part_of_an_epoch_read_alone_is_the_same_part(order: Order, epoch: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, order.samples))
    stop = data.draw(st.integers(start, order.samples))
    part = [a.tolist() for a in order.locate(epoch, np.arange(start, stop))]
    assert list(zip(*part, strict=True)) == everything(order, epoch)[start:stop]


@settings(max_examples=50)
@given(ORDERS, st.integers(0, 2))
def test_position_p_lies_in_lane_p_mod_c(order: Order, epoch: int) -> None:
    lanes, _, _ = order.locate(epoch, np.arange(order.samples))
    assert lanes.tolist() == [p % order.lanes for p in range(order.samples)]


@settings(max_examples=50)
@given(ORDERS, st.integers(0, 2))
def test_an_epoch_never_needs_more_than_one_window_of_a_lane(order: Order, epoch: int) -> None:
    """Going through a lane, shards come in windows: once one is left it is not needed again."""
    lanes, shards, _ = order.locate(epoch, np.arange(order.samples))
    for lane in np.unique(lanes):
        seen = shards[lanes == lane].tolist()
        last = {shard: i for i, shard in enumerate(seen)}
        open_shards: set[int] = set()
        for i, shard in enumerate(seen):
            open_shards.add(shard)
            assert len(open_shards) <= order.window_shards
            open_shards = (
                {s for s in open_shards if last[s] > i} if len(open_shards) == order.window_shards else open_shards
            )


def test_epochs_and_seeds_differ_and_repeat() -> None:
    order = Order("d", 0, 500, 8, 16, 3)
    assert everything(order, 0) == everything(order, 0)
    assert everything(order, 0) != everything(order, 1)
    assert everything(order, 0) != everything(Order("d", 1, 500, 8, 16, 3), 0)


def test_the_order_is_the_one_it_was_when_the_first_corpora_were_trained_on() -> None:
    """Pinned: another numpy, machine or refactoring must not move a sample."""
    lanes, shards, rows = Order("pinned", 3, 23, 2, 4, 2).locate(1, np.arange(23))
    assert (lanes.tolist(), shards.tolist(), rows.tolist()) == PINNED


def test_strata_of_one_corpus_have_orders_of_their_own() -> None:
    assert everything(Order("d", 0, 500, 8, 16, 3), 0) == everything(Order("d", 0, 500, 8, 16, 3, stratum=0), 0)
    assert everything(Order("d", 0, 500, 8, 16, 3), 0) != everything(Order("d", 0, 500, 8, 16, 3, stratum=1), 0)
