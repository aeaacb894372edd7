"""The spoken texts: sentences from a file, sequences of common words, digits; and their splits.

Design choice: a text's split is a hash of the text. So no list of splits is kept, adding a sentence
does not move others, and word sequences are split in the same way.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import lru_cache
from pathlib import Path
from random import Random

FILE = Path(__file__).with_name("sentences.txt")
#: Percentages of train, val, test.
_SHARES = {"train": 90, "val": 5, "test": 5}
#: Words that sound like others, so that an isolated one has no unique transcript.
HOMOPHONES = """
    ad add aisle allowed aloud ant ate aunt bare be bean bear bee been berry blew blue board
    bored brake bread break bred buy by bye ceiling cell cent cereal chilly close clothes coarse
    course creak creek dear deer desert dessert dew die do does due dye eight eye fair fare feat
    feet find fined fir flew flour flower flu for forth four fourth fur gait gate grate great
    groan grown guessed guest hail hair hare heal hear heel heir here higher him hire hole hour
    hymn idle in inn knew knight knot know knows lead leased least led lesson live loan lone
    loose lose made maid mail main male mane meat meet meter mind mined miner minor missed mist
    more morning mourning naval new news night no nose not oar off one or our pail pain pair
    pale pane passed past patience patients pause paws pea peace peak pear pee peer piece pier
    plain plane poor pore pour pray prey pries principal prize profit prophet quay rain raise
    read real red reel reign right ring road rode role roll root rose route row rows rye sail
    sale scene sea see seem seen sell sense sent serial sew shoe shore sight site so soar sole
    some son sore soul sow stair stairs stake stare stares steak steal steel suite sum sun sure
    sweet tail tale tea tear thai theater theatre their there threw throne through thrown tide
    tie tied tire to toe too tow two use used vain vein waist wait war warn waste way weak wear
    weather week weigh weight where whether which whole wind witch won wood wore worn would wrap
    wring write yore your
"""
#: Minimum number of training sentences with a word for it to be used in sequences.
_COMMON = 3


def split_of(text: str) -> str:
    """The split that may use this text."""
    place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 100
    for split, share in _SHARES.items():
        if place < share:
            return split
        place -= share
    raise AssertionError("shares do not sum to 100")


@lru_cache(maxsize=1)
def _all_sentences() -> tuple[str, ...]:
    lines = FILE.read_text("utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


@lru_cache(maxsize=3)
def sentences(split: str) -> tuple[str, ...]:
    """The split's sentences: lower-case words and apostrophes."""
    return tuple(text for text in _all_sentences() if split_of(text) == split)


@lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """Common words of the training sentences, without homophones."""
    doubtful = set(HOMOPHONES.split())
    counts = Counter(word for text in sentences("train") for word in set(text.split()))
    return tuple(
        sorted(
            word
            for word, count in counts.items()
            if count >= _COMMON and len(word) > 1 and "'" not in word and word not in doubtful
        )
    )


def sequence(split: str, rng: Random, words: tuple[int, int] = (2, 4)) -> str:
    """A random sequence of common words in this split; `words` is the range of their number."""
    while True:
        text = " ".join(rng.sample(vocabulary(), rng.randint(*words)))
        if split_of(text) == split:
            return text


def digest() -> str:
    """SHA-256 of all sentences and of the vocabulary of sequences."""
    said = "\n".join((*_all_sentences(), *vocabulary()))
    return hashlib.sha256(said.encode()).hexdigest()
