"""Requests that are answered together, each as if it were alone."""

import logging
import random
import threading
import time
from concurrent.futures import CancelledError

import pytest
import torch

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.completion import complete
from pal_plugin.serving import kv_cache
from pal_plugin.serving.engine import Engine
from pal_plugin.serving.requests import Busy, Delta, Done, Request, Stopped
from pal_plugin.serving.rows import Rows


def user(*parts):
    content = [
        {"type": "text", "text": p} if isinstance(p, str) else {"type": "audio", "audio": p}
        for p in parts
    ]
    return {"role": "user", "content": content}


def said(text):
    return {"role": "assistant", "content": text}


def questions(short, long):
    """Conversations of all kinds."""
    return [
        [user(short, "What is it?")],
        [user("Hello")],
        [user(long)],
        [user("Is", short, "louder than", long, "?")],
        [user(short, "What is it?"), said("a bell"), user("And this?", long)],
        [user("Say something."), said("noise"), user("Again, please.")],
        [user(long, short, "Which is longer?")],
    ]


def alone(model, request):
    samples = {"messages": [request.messages]}
    if request.mute:
        samples["audio_mask"] = torch.tensor([False])
    (done,) = complete(
        model,
        samples,
        max_new_tokens=request.max_new_tokens,
        stop=request.stop,
        logprobs=request.logprobs,
    )
    return done


def same(done, expected):
    """Log-probabilities are equal up to the rounding of sums."""
    mine, theirs = vars(done.completion).copy(), vars(expected).copy()
    assert mine.pop("logprobs") == pytest.approx(theirs.pop("logprobs"), abs=1e-4)
    assert mine == theirs


def pause(engine):
    """Keeps the engine's thread from going on; returns what lets it go on."""
    going = threading.Event()
    threading.Thread(target=lambda: engine.call(lambda: going.wait(60)), daemon=True).start()
    time.sleep(0.05)
    return going.set


def check(model, clips, seed, rounds=1, **options):
    """Random requests at random times, some cancelled: each of the others as if it were alone."""
    choose, kinds = random.Random(seed), questions(*clips)
    requests = [
        Request(
            messages,
            max_new_tokens=choose.randint(1, 12),
            logprobs=True,
            mute=choose.random() < 0.2,
            stop=("e",) if choose.random() < 0.2 else (),
        )
        for messages in kinds * rounds
    ]
    expected = [alone(model, request) for request in requests]
    leaving = [choose.random() < 0.2 for _ in requests]
    with Engine(model, **options) as engine:
        tickets = []
        for request, leaves in zip(requests, leaving, strict=True):
            ticket = engine.submit(request)
            tickets.append(ticket)
            if leaves:
                threading.Timer(choose.random() * 0.05, ticket.cancel).start()
            time.sleep(choose.random() * 0.03)
        for ticket, leaves, answer in zip(tickets, leaving, expected, strict=True):
            try:
                same(ticket.result(120), answer)
            except CancelledError:
                assert leaves
        stats = engine.stats()
    assert stats["answered"] + stats["cancelled"] == len(requests)
    assert stats["failed"] == stats["running"] == stats["waiting"] == 0
    return stats


def test_answers_are_those_of_the_model_alone(tiny_model, two_clips):
    check(tiny_model("pal"), two_clips["audio"], seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("model_type", ["lal", "plits", "pal", "flamingo"])
def test_whatever_joins_or_leaves(tiny_model, two_clips, model_type, seed):
    stats = check(tiny_model(model_type), two_clips["audio"], seed, rounds=6, max_batch=5)
    assert stats["rows_per_step"] > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lal", "plits", "pal"])
def test_with_the_shipped_weights(name, two_clips):
    stats = check(AudioLLM.from_pretrained(name), two_clips["audio"], seed=0, rounds=6)
    assert stats["rows_per_step"] > 1


@pytest.mark.slow
def test_an_llm_whose_rows_cannot_be_merged(tiny_model, two_clips, monkeypatch):
    monkeypatch.setattr(kv_cache, "is_mergeable", lambda cache: False)
    monkeypatch.setattr("pal_plugin.serving.engine.READ_AT_ONCE", 1)
    stats = check(tiny_model("lal"), two_clips["audio"], seed=0)
    assert stats["rows_per_step"] == 1


def test_all_are_answered_in_the_same_steps(tiny_model, two_clips):
    model = tiny_model("lal")
    with Engine(model, max_batch=3) as engine:
        go = pause(engine)
        tickets = [
            engine.submit(Request([user(clip, "What?")], max_new_tokens=9), lambda piece: None)
            for clip in two_clips["audio"] * 2
        ]
        go()
        done = [ticket.result(60).completion for ticket in tickets]
        stats = engine.stats()
    if all(d.completion_tokens == 9 for d in done):
        assert stats["steps"] == 16  # three, and then the fourth
    assert stats["rows_per_step"] == pytest.approx(
        sum(d.completion_tokens - 1 for d in done) / stats["steps"]
    )
    assert (stats["clip_cache_misses"], stats["clip_cache_hits"]) == (2, 2)
    for name in ("prompt_tokens", "audio_tokens", "completion_tokens"):
        assert stats[name] == sum(getattr(d, name) for d in done)


def test_pieces_are_the_answer_and_hold_every_score(tiny_model, two_clips):
    model = tiny_model("pal")
    request = Request(
        [user(two_clips["audio"][0], "What?")], max_new_tokens=12, logprobs=True, top_logprobs=3
    )
    with Engine(model) as engine:
        *deltas, done = engine.submit(request)
        given = []
        engine.submit(request, given.append).result(60)
    assert all(isinstance(delta, Delta) for delta in deltas)
    assert isinstance(done, Done)
    assert "".join(delta.text for delta in deltas) == done.completion.text
    assert sum((delta.scores for delta in deltas), ()) == done.scores
    assert [piece.text for piece in given[:-1]] == [delta.text for delta in deltas]
    assert given[-1].completion.text == done.completion.text
    assert tuple(score.token for score in done.scores) == done.completion.tokens
    for score in done.scores:  # greedy
        assert len(score.top) == 3
        assert score.top[0] == (score.token, score.logprob)
        assert score.top[1][1] <= score.logprob


def test_a_seed_gives_the_same_answer_in_any_company(tiny_model, two_clips):
    model, clip = tiny_model("lal"), two_clips["audio"][0]
    request = Request([user(clip, "What?")], max_new_tokens=10, temperature=2.0, seed=3)
    others = [Request([user("Hello")], max_new_tokens=n, temperature=1.0) for n in (3, 15)]
    with Engine(model) as engine:
        expected = engine.submit(request).result(60)
        go = pause(engine)
        tickets = [engine.submit(r) for r in (others[0], request, others[1], request)]
        go()
        done = [ticket.result(60) for ticket in tickets]
    assert done[1].completion == done[3].completion == expected.completion
    assert {d.completion.completion_tokens for d in (done[0], done[2])} <= set(range(16))


def test_the_next_turn_reads_what_is_new(tiny_model, two_clips):
    follow_up(tiny_model("plits"), *two_clips["audio"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lal", "plits", "pal"])
def test_the_next_turn_with_the_shipped_weights(two_clips, name):
    follow_up(AudioLLM.from_pretrained(name), *two_clips["audio"])


def follow_up(model, short, long):
    first = [user(short, "What is it, and how long does it last, and is it loud?")]
    with Engine(model) as engine:
        answer = engine.submit(Request(first, max_new_tokens=6)).result(60)
        assert answer.cached_tokens == 0
        prompts = [
            [*first, said(answer.completion.text), user("Sure?", long)],
            [*first, said("something else"), user("Sure?")],
            first,
            [user(long, "What is it, and how long does it last, and is it loud?")],
        ]
        requests = [Request(p, max_new_tokens=6, logprobs=True) for p in prompts]
        done = [engine.submit(request).result(60) for request in requests]
        for one, request in zip(done, requests, strict=True):
            same(one, alone(model, request))
        go = pause(engine)  # now all at once, among them one that is not known
        requests = [*requests, Request([user("Hello")], max_new_tokens=6, logprobs=True)]
        tickets = [engine.submit(request) for request in requests]
        go()
        for ticket, request in zip(tickets, requests, strict=True):
            same(ticket.result(60), alone(model, request))
    known = answer.completion  # of LAL and PLITS the clip is not computed anew either
    beginning = known.prompt_tokens + known.audio_tokens
    assert done[0].cached_tokens >= beginning
    assert done[1].cached_tokens >= beginning
    assert done[2].cached_tokens == beginning - 1
    long_by_lal = model.encode(long).routed.audio
    assert done[3].cached_tokens == (0 if long_by_lal is None else int(long_by_lal.mask.sum()))


def test_ranking_and_counting(tiny_model, two_clips):
    model, messages = tiny_model("pal"), [user(two_clips["audio"][0], "What is it?")]
    labels = ["a bell", "rain"]
    heard = {"messages": [messages]}
    with Engine(model) as engine:
        for mute, samples in ((False, heard), (True, {**heard, "audio_mask": [False]})):
            expected = model.predict_class(samples, labels)
            found = engine.rank(messages, labels, mute)
            assert found["predictions"] == expected["predictions"]
            torch.testing.assert_close(found["scores"], expected["scores"])
        assert engine.count(messages) == tuple(n[0] for n in model.prompts(heard).count())
        assert engine.stats()["clip_cache_misses"] == 1
        with pytest.raises(ValueError, match="candidates is empty"):
            engine.rank(messages, [])


def test_a_closed_engine_finishes_and_refuses(tiny_model):
    engine = Engine(tiny_model("lal"), max_batch=1)
    tickets = [engine.submit(Request([user("Hello")], max_new_tokens=4)) for _ in range(3)]
    engine.close()
    assert all(ticket.result(0).completion.completion_tokens <= 4 for ticket in tickets)
    for ask in (
        lambda: engine.submit(Request([user("Hello")])),
        lambda: engine.count([user("Hello")]),
    ):
        with pytest.raises(Stopped, match="closed"):
            ask()


def test_an_engine_that_is_stopped_ends_all(tiny_model):
    engine, begun = Engine(tiny_model("lal"), max_batch=1), threading.Event()
    engine.submit(Request([user("Hello")], max_new_tokens=1900), lambda _: begun.set())
    tickets = [engine.submit(Request([user("Hello")])) for _ in range(2)]
    assert begun.wait(60)
    engine.close(finish=False)
    for ticket in tickets:
        with pytest.raises(Stopped, match="the engine has been closed"):
            ticket.result(0)


def test_who_leaves_frees_the_place(tiny_model):
    with Engine(tiny_model("lal"), max_batch=1) as engine:
        first = engine.submit(Request([user("Hello")], max_new_tokens=1900))
        second = engine.submit(Request([user("Hello")], max_new_tokens=2))
        third = engine.submit(Request([user("Hello")], max_new_tokens=2))
        third.cancel()
        first.cancel()
        assert second.result(60).completion.completion_tokens <= 2
        for ticket in (first, third):
            with pytest.raises(CancelledError):
                ticket.result(60)


def test_who_comes_when_all_others_leave(tiny_model):
    with Engine(tiny_model("lal")) as engine:
        begun = threading.Event()
        first = engine.submit(Request([user("Hello")], max_new_tokens=1900), lambda _: begun.set())
        assert begun.wait(60)
        go = pause(engine)
        first.cancel()
        second = engine.submit(Request([user("Hello")], max_new_tokens=2))
        go()
        assert second.result(60).completion.completion_tokens <= 2
        with pytest.raises(CancelledError):
            first.result(60)


def test_a_full_queue_refuses(tiny_model):
    with Engine(tiny_model("lal"), max_waiting=1) as engine:
        go = pause(engine)
        ticket = engine.submit(Request([user("Hello")], max_new_tokens=2))
        with pytest.raises(Busy, match="1 requests are waiting"):
            engine.submit(Request([user("Hello")], max_new_tokens=2))
        go()
        ticket.result(60)


def test_what_cannot_be_answered_is_refused_at_once(tiny_model):
    with Engine(tiny_model("lal")) as engine:
        for bad, message in (
            (Request("Hello"), "expected messages as a list"),
            (Request([user("Hello")], max_new_tokens=100_000), "max_new_tokens=100000 that is"),
            (Request([user("Hello"), said("Hi")]), "ends with an answer"),
            (Request([user("Hello")], stop=("",)), "stop is"),
            (Request([user("Hello")], temperature=-1.0), "temperature is -1.0"),
            (Request([user("Hello")], top_logprobs=2), "top_logprobs needs logprobs"),
        ):
            with pytest.raises(ValueError, match=message):
                engine.submit(bad)


def test_an_error_ends_its_request_alone(tiny_model, two_clips, monkeypatch, caplog):
    model, clip = tiny_model("plits"), two_clips["audio"][0]
    room = model.decoder.config.max_position_embeddings
    good = Request([user(clip, "What?")], max_new_tokens=5, logprobs=True)
    expected = alone(model, good)
    broken = model.encode

    def encode(source):
        if len(source[0]) == 1:
            raise torch.OutOfMemoryError("no memory left")
        return broken(source)

    monkeypatch.setattr(model, "encode", encode)
    with Engine(model) as engine, caplog.at_level(logging.ERROR):
        go = pause(engine)
        text = len(model.text.prompt_ids("What?"))
        tickets = [
            engine.submit(request)
            for request in (
                good,
                Request([user((clip[0][:1], 16000), "What?")], max_new_tokens=5),
                Request([user((clip[0][:0], 16000), "What?")], max_new_tokens=5),
                Request([user(clip, "What?")], max_new_tokens=room - text),
                good,
            )
        ]
        go()
        same(tickets[0].result(60), expected)
        same(tickets[4].result(60), expected)
        for ticket, kind, message in (
            (tickets[1], torch.OutOfMemoryError, "no memory left"),
            (tickets[2], ValueError, "no samples"),
            (tickets[3], ValueError, r"tokens of text and \d+ of audio"),
        ):
            with pytest.raises(kind, match=message):
                list(ticket)
        assert engine.stats()["failed"] == 3
    assert "a request failed" in caplog.text


def test_a_step_that_fails_ends_the_newest(tiny_model, monkeypatch):
    model = tiny_model("lal")
    request = Request([user("Hello")], max_new_tokens=6, logprobs=True)
    expected, step = alone(model, request), Rows.step

    def scarce(rows, *args):
        if len(rows) > 2:
            raise torch.OutOfMemoryError("no memory left")
        return step(rows, *args)

    monkeypatch.setattr(Rows, "step", scarce)
    with Engine(model) as engine:
        go = pause(engine)
        tickets = [engine.submit(request) for _ in range(4)]
        go()
        for ticket in tickets[:2]:
            same(ticket.result(60), expected)
        for ticket in tickets[2:]:
            with pytest.raises(torch.OutOfMemoryError):
                ticket.result(60)


def test_what_fails_for_a_batch_ends_that_batch(tiny_model, monkeypatch):
    with Engine(tiny_model("lal")) as engine:
        monkeypatch.setattr(Rows, "select", lambda *_: [][0])
        go = pause(engine)
        tickets = [
            engine.submit(Request([user("Hello")], max_new_tokens=n, temperature=0.1))
            for n in (2, 400)
        ]
        go()
        for ticket in tickets:
            with pytest.raises(IndexError):
                ticket.result(60)
        monkeypatch.undo()
        again = engine.submit(Request([user("Hello")], max_new_tokens=2))
        assert again.result(60).completion.completion_tokens <= 2


def test_the_thread_does_not_die_in_silence(tiny_model, monkeypatch, caplog):
    engine = Engine(tiny_model("lal"))
    monkeypatch.setattr(engine, "_join", lambda arrived: 1 / 0)
    with caplog.at_level(logging.ERROR):
        ticket = engine.submit(Request([user("Hello")], max_new_tokens=2))
        with pytest.raises(Stopped, match="the engine has failed: ZeroDivisionError"):
            ticket.result(60)
    with pytest.raises(Stopped, match="ZeroDivisionError"):
        engine.submit(Request([user("Hello")]))
    assert "the engine has failed" in caplog.text


def test_a_job_runs_in_the_engines_thread(tiny_model):
    with Engine(tiny_model("lal")) as engine:
        assert engine.call(lambda: threading.current_thread().name) == "pal-engine"
        with pytest.raises(ZeroDivisionError):
            engine.call(lambda: 1 / 0)
    with pytest.raises(Stopped, match="closed"):
        engine.call(list)
