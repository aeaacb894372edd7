"""Who speaks: accents and variants of espeak-ng, and the voices of each split.

Design choice: a voice is an accent with a variant. Variants of val and test are in no other split,
and each of the two has an accent of its own beside those of training, so a share of their voices is
new in both. Robots, whispers, croaks and whatever Whisper cannot understand are left out.
"""

from __future__ import annotations

from functools import lru_cache

ACCENTS = ("en-us", "en-us-nyc", "en", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
#: In no other split.
OWN_ACCENTS = {"val": "en-029", "test": "en-gb-scotland"}
VARIANTS = {
    "train": (
        *(
            "Alex",
            "Alicia",
            "Andrea",
            "Andy",
            "Annie",
            "Denis",
            "Diogo",
            "Gene",
            "Henrique",
            "Hugo",
        ),
        *("Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Reed", "Storm", "adam"),
        *("antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward"),
        *("f1", "f2", "f3", "f4", "grandma", "grandpa", "iven", "john", "kaukovalta", "linda"),
        *(
            "m1",
            "m2",
            "m3",
            "m4",
            "m5",
            "m7",
            "marcelo",
            "max",
            "michel",
            "miguel",
            "pablo",
            "paul",
        ),
        *("quincy", "rob", "sandro", "shelby", "steph", "travis", "zac"),
    ),
    "val": ("f5", "m6", "ian", "anika", "pedro"),
    "test": ("announcer", "gustave", "m8", "norbert", "robert", "steph2", "victor"),
}


@lru_cache(maxsize=3)
def voices(split: str) -> tuple[str, ...]:
    """The split's voices by espeak-ng's names, such as "en-us+Alex".

    Raises:
        KeyError: an unknown split.
    """
    accents = [*ACCENTS, *([OWN_ACCENTS[split]] if split in OWN_ACCENTS else [])]
    return tuple(f"{accent}+{variant}" for accent in accents for variant in VARIANTS[split])
