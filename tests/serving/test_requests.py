import dataclasses

import pytest

from pal_plugin.serving.requests import Request


def test_a_request_is_greedy_and_hears_by_default():
    request = Request([{"role": "user", "content": "Hello"}])
    assert request.temperature == 0
    assert not request.mute
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.mute = True
