from __future__ import annotations

import copy
import operator
import pickle

import numpy as np
import pytest

from opentps_brimstone._util.lazy_array import LazyArray


def lazy(values=(1.0, 2.0, 3.0)):
    return LazyArray(lambda: np.array(values))


@pytest.mark.parametrize("name", ["iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow"])
def test_arithmetic_in_place_changes_the_array_itself(name):
    array, expected = lazy(), np.array([1.0, 2.0, 3.0])
    same = getattr(operator, name)(array, 2.0)
    assert same is array
    np.testing.assert_array_equal(np.asarray(array), getattr(operator, name)(expected, 2.0))


def test_what_numpy_writes_into_it_is_in_it():
    array = lazy()
    assert np.maximum(array, 2.0, out=array) is array
    assert np.clip(array, 2.0, 2.5, out=array) is array
    np.copyto(array[:1], 7.0)
    array[array > 6.0] += lazy((1.0,))
    np.testing.assert_array_equal(array, [8.0, 2.0, 2.5])
    np.testing.assert_array_equal(np.add.reduce(lazy(), keepdims=True), [6.0])


def test_it_is_asked_as_an_array_is():
    array = lazy()
    assert 2.0 in array
    assert 5.0 not in array
    assert (float(lazy((2.5,))[0]), int(lazy((3.0,)).sum()), bool(lazy((0.0,)))) == (2.5, 3, False)
    with pytest.raises(ValueError, match="truth value of an array"):
        bool(array)
    array.shape = (3, 1)
    assert array.shape == np.asarray(array).shape == (3, 1)
    assert f"{array}" == str(np.array([[1.0], [2.0], [3.0]]))
    assert list(reversed(lazy())) == [3.0, 2.0, 1.0]


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_and_pickles_are_arrays_of_their_own(twin):
    array = lazy()
    other = twin(array)
    assert type(other) is np.ndarray
    other[:] = 0.0
    np.testing.assert_array_equal(array, [1.0, 2.0, 3.0])


def test_an_own_copy_is_changed_alone_and_made_when_it_is_used():
    made = []

    def compute():
        made.append(1)
        return np.ones(2)

    array = LazyArray(compute)
    own = array.own_copy()
    assert made == []
    own += 1.0
    np.testing.assert_array_equal(array, [1.0, 1.0])
    np.testing.assert_array_equal(own, [2.0, 2.0])
    assert made == [1]
