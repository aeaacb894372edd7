"""Conversations: right by their scenes, balanced, and not to be guessed from their text."""

import json
from collections import Counter, defaultdict
from itertools import repeat

import pytest

from pal_plugin.corpora.items import checked_items
from pal_plugin.soundworld import LABELS, split_scene
from pal_plugin.soundworld.talks import PLACES, TALK_TYPES, split_talk
from pal_plugin.soundworld.words import noun
from pal_plugin.utils.messages import clips_of, with_clips

TALKS = [split_talk("val", 0, index) for index in range(4 * 96)]


def by_type(kind):
    return [(scenes, item) for scenes, item in TALKS if item["question_type"] == kind]


def has(scene, kind):
    return any(event.kind == kind for event in scene.events)


def asked_kind(item):
    text = json.dumps(item["messages"][0])
    return max((kind for kind in LABELS if f"the {noun(kind)}" in text), key=len)


@pytest.mark.parametrize("kind", TALK_TYPES)
def test_items_are_valid_and_name_all_clips(kind):
    for scenes, item in by_type(kind):
        (whole,) = checked_items([item], len(scenes))
        assert clips_of(item["messages"]) == list(range(len(scenes)))
        assert whole["answer"] == item["answers"][0] in item["candidates"]


def test_the_answers_are_those_of_the_scenes():
    for scenes, item in by_type("which") + by_type("other"):
        place = PLACES.index(item["messages"][1]["content"])
        heard = [has(scene, asked_kind(item)) for scene in scenes]
        assert heard == [place == 0, place == 1]
        if item["question_type"] == "other":
            assert item["answers"][0] == scenes[1 - place].label
    for (first, second), item in by_type("same"):
        assert (first.label == second.label) == (item["answers"][0] == "yes")
    for scenes, item in by_type("shots"):
        said = [message["content"] for message in item["messages"][1::2]]
        assert said == [scene.label for scene in scenes]


def test_answers_are_balanced_and_the_text_does_not_tell_them():
    for kind in TALK_TYPES:
        talks = by_type(kind)
        answers = Counter(item["answers"][0] for _, item in talks)
        assert set(answers.values()) == {len(talks) // len(talks[0][1]["candidates"])}
        # What a guesser reaches that knows every earlier row with the same text in front of the
        # answer: no more than one that knows the answers' frequencies.
        seen, right = defaultdict(Counter), 0
        for _, item in talks:
            text = json.dumps(with_clips(item["messages"][:-1], repeat("")))
            guess = seen[text].most_common(1)
            right += bool(guess) and guess[0][0] == item["answers"][0]
            seen[text][item["answers"][0]] += 1
        assert right / len(talks) < 1.35 / len(talks[0][1]["candidates"])


def test_talks_depend_on_split_seed_and_index_alone_and_share_no_scene():
    again = split_talk("val", 0, 5)
    assert again == TALKS[5]
    single = {split_scene("train", 0, index)[0].seed for index in range(100)}
    ours = [
        scene.seed
        for split in ("train", "val")
        for i in range(40)
        for scene in split_talk(split, 0, i)[0]
    ]
    assert len({*single, *ours}) == 100 + len(ours)
    with pytest.raises(ValueError, match="expected a split of"):
        split_talk("dev", 0, 0)
