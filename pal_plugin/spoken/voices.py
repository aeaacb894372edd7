"""Voices: accents and variants of espeak-ng, and the voices of each split.

Design choice: a voice is an accent with a variant. Variants of val and test are in no other split,
and each of the two also has an accent of its own, so some of their voices are new in both respects.
Excluded are robots, whispers, croaks, further takes of a variant (`steph2`), and variants on which
Whisper tiny.en got more than a third of the words wrong.
"""

from __future__ import annotations

from functools import lru_cache

#: "en" is British.
ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-x-gbclan")
#: In no other split.
OWN_ACCENTS = {"val": "en-us-nyc", "test": "en-gb-scotland"}
#: By name in espeak-ng's folder `voices/!v`.
VARIANTS = {
    "train": (
        "Alex Annie Denis Gene Henrique Hugo Marco Mario Michael Mike Nguyen Reed RicishayMax "
        "Storm adam anika boris caleb david ed edward f1 f2 f4 f5 grandpa gustave john linda m1 m2 "
        "m3 m4 m5 m6 marcelo max michel pablo quincy rob sandro travis victor zac"
    ),
    "val": "Diogo belinda benjamin m7",
    "test": "antonio f3 m8 miguel robert steph",
}


@lru_cache(maxsize=3)
def voices(split: str) -> tuple[str, ...]:
    """The split's voices by their espeak-ng names, such as "en-us+Alex".

    Raises:
        KeyError: for an unknown split.
    """
    accents = [*ACCENTS, *([OWN_ACCENTS[split]] if split in OWN_ACCENTS else [])]
    return tuple(f"{accent}+{variant}" for accent in accents for variant in VARIANTS[split].split())
