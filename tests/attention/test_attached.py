"""Records of what is attached: kept in the decoder, one for each keyword, gone without a trace."""

import copy

import pytest
import torch
from torch import nn

from pal_plugin.attention.attached import Attachment, attached, keep, release


def test_each_keyword_has_its_own_record_and_the_state_dict_stays():
    decoder = nn.Linear(2, 2)
    keys = set(decoder.state_dict())
    one, other = Attachment(), Attachment()
    assert attached(decoder, "audio") is None
    keep(decoder, "audio", one)
    keep(decoder, "cross_audio", other)
    assert attached(decoder, "audio") is one
    assert attached(decoder, "cross_audio") is other
    assert set(decoder.state_dict()) == keys
    release(decoder, "audio")
    assert attached(decoder, "audio") is None
    assert attached(decoder, "cross_audio") is other
    release(decoder, "cross_audio")
    assert vars(decoder).keys() == vars(nn.Linear(2, 2)).keys()


def test_a_release_takes_the_hooks_out():
    decoder, calls = nn.Linear(2, 2), []
    hook = decoder.register_forward_hook(lambda *_: calls.append("heard"))
    keep(decoder, "audio", Attachment([hook]))
    decoder(torch.zeros(1, 2))
    release(decoder, "audio")
    decoder(torch.zeros(1, 2))
    assert calls == ["heard"]


def test_a_copy_has_a_record_of_its_own():
    decoder = nn.Linear(2, 2)
    keep(decoder, "audio", Attachment())
    copied = copy.deepcopy(decoder)
    release(copied, "audio")
    assert attached(decoder, "audio") is not None
    with pytest.raises(AttributeError):
        release(copied, "audio")
