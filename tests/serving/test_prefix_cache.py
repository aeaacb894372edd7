"""The longest common beginning is found, and the oldest conversation goes first."""

import torch
from transformers import DynamicCache

from pal_plugin.llm.conversation import Turns
from pal_plugin.serving.prefix_cache import PrefixCache


def turns(ids, *clips):
    return Turns(list(ids), [], [(key, None) for key, _ in clips], [place for _, place in clips])


def cache(columns):
    made = DynamicCache()
    made.update(torch.zeros(1, 1, columns, 1), torch.zeros(1, 1, columns, 1), 0)
    return made  # 8 bytes a column


def test_ids_and_clips_must_be_the_same():
    known = PrefixCache(1000)
    known.put(turns([1, 2, 3, 4], ("a", 0), ("b", 3)), [5, 6], cache(6))

    def shared(*prompt):
        return known.find(turns(*prompt))[0]

    assert shared([1, 2, 3, 4, 5, 6, 7], ("a", 0), ("b", 3)) == 6
    assert shared([1, 2, 3, 4, 5, 6, 7], ("a", 0), ("b", 3), ("c", 5)) == 5
    assert shared([1, 2, 3, 4, 5, 6, 7], ("a", 0), ("c", 3)) == 3
    assert shared([1, 2, 3, 4, 5, 6, 7], ("a", 0)) == 3
    assert shared([1, 2, 3, 4, 5, 6, 7], ("a", 0), ("b", 2)) == 2
    assert shared([1, 2, 9, 4], ("a", 0), ("b", 3)) == 2
    assert shared([1, 2, 3, 4], ("a", 0), ("b", 3)) == 3  # one is left to be read
    assert known.find(turns([1, 2, 3, 4], ("b", 0), ("b", 3))) == (0, None)


def test_a_later_turn_takes_the_place_of_the_earlier_ones():
    known = PrefixCache(100)
    known.put(turns([1, 2]), [3], cache(3))
    known.put(turns([1, 2, 3, 4]), [5], cache(5))
    assert known.nbytes == 40
    known.put(turns([7, 8]), [9], cache(6))
    assert known.nbytes == 88
    known.touch(known.find(turns([1, 2, 3]))[1])
    known.put(turns([6, 6]), [6], cache(3))  # not enough room: the one that was not used goes
    assert known.nbytes == 64
    assert known.find(turns([7, 8, 9])) == (0, None)
    assert known.find(turns([1, 2, 3]))[0] == 2
    known.put(turns([5, 5]), [5], cache(20))  # larger than all of the room
    assert known.nbytes == 64
