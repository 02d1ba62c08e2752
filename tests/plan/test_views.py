import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ganglion.plan.views import Storage, View, collapse, dense_strides

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def _elements(view: View) -> np.ndarray:
    """The storage index of every element."""
    index = np.full(view.shape, view.offset)
    for axis, (n, stride) in enumerate(zip(view.shape, view.strides)):
        index += (np.arange(n) * stride).reshape([-1 if i == axis else 1
                                                  for i in range(len(view.shape))])
    return index


@given(shapes, st.data())
def test_views_reach_the_elements_that_numpy_reaches(shape: tuple[int, ...],
                                                     data: st.DataObject) -> None:
    perm = data.draw(st.permutations(range(len(shape))))
    size = int(np.prod(shape))
    view = View(Storage("x", "float32", size), shape, dense_strides(shape, range(len(shape))))
    array = np.arange(size).reshape(shape)
    assert np.array_equal(_elements(view.transposed(perm)), array.transpose(perm))
    flat = view.transposed(perm).reshaped((size,))
    if flat is not None:
        assert np.array_equal(_elements(flat), array.transpose(perm).reshape(-1))
    wide = (2, *shape)
    assert np.array_equal(_elements(view.broadcast(wide)), np.broadcast_to(array, wide))


@given(shapes, st.data())
def test_dense_strides_are_dense_in_their_order_and_order_finds_it(
        shape: tuple[int, ...], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    size = int(np.prod(shape))
    view = View(Storage("x", "float32", size), shape, dense_strides(shape, order))
    assert view.dense_in(order)
    assert view.dense_in(view.order())
    assert view.span == size


@given(shapes, st.data())
def test_collapsed_loops_visit_the_same_addresses_in_the_same_order(
        shape: tuple[int, ...], data: st.DataObject) -> None:
    strides = [tuple(data.draw(st.integers(0, 30)) for _ in shape) for _ in range(2)]
    strides.append(dense_strides(shape, range(len(shape))))
    dims, *walks = collapse(shape, *strides)
    for before, after in zip(strides, walks):
        a = [sum(i * s for i, s in zip(index, before)) for index in np.ndindex(shape)]
        b = [sum(i * s for i, s in zip(index, after)) for index in np.ndindex(dims)]
        assert a == b
