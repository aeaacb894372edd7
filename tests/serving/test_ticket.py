import logging

import pytest

from pal_plugin.models.completion import Completion
from pal_plugin.serving.requests import Delta, Done, Request
from pal_plugin.serving.ticket import Ticket

DONE = Done(Completion("a bell", "stop", 3, 0, 2))


def test_pieces_come_in_order_and_end():
    ticket = Ticket(Request([]))
    for piece in (Delta("a"), Delta(" bell"), DONE, ValueError("too late")):
        ticket.give(piece)
    assert list(ticket) == [Delta("a"), Delta(" bell"), DONE]
    assert ticket.result(0) is DONE


def test_what_went_wrong_is_raised():
    ticket = Ticket(Request([]))
    with pytest.raises(TimeoutError):
        ticket.result(0.01)
    ticket.give(Delta("a"))
    ticket.give(ValueError("no clip"))
    pieces = iter(ticket)
    assert next(pieces) == Delta("a")
    with pytest.raises(ValueError, match="no clip"):
        next(pieces)
    with pytest.raises(ValueError, match="no clip"):
        ticket.result(0)


def test_a_reader_that_fails_is_gone(caplog):
    given = []

    def deliver(piece):
        given.append(piece)
        raise ConnectionError("gone")

    ticket = Ticket(Request([]), deliver)
    with caplog.at_level(logging.ERROR):
        ticket.give(Delta("a"))
    assert given == [Delta("a")]
    assert ticket.cancelled
    assert "delivering an answer failed" in caplog.text
