"""What the tests beside share."""

import shutil

import pytest

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no java on the PATH")


# The example of aac-metrics' README, with the values printed there.
CANDIDATES = ["a man is speaking", "rain falls"]


REFERENCES = [
    [
        "a man speaks.",
        "someone speaks.",
        "a man is speaking while a bird is chirping in the background",
    ],
    ["rain is falling hard on a surface"],
]
