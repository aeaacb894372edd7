"""What LAVIS's registry gets of the core's."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import pickle
from pal_plugin.config.registry import PROCESSORS
from pal_plugin.processors.text import TextProcessor as Ours

class TextProcessor(Ours):
    pass

class BaseProcessor(Ours):
    pass

PROCESSORS.add("my_text", TextProcessor)
PROCESSORS.add("my_base", BaseProcessor)
import lavis
from lavis.common.registry import registry

for name in ("pal_text", "my_text", "my_base"):
    cls = registry.get_processor_class(name)
    assert type(pickle.loads(pickle.dumps(cls()))) is cls, name
print("all travel")
"""


@pytest.mark.slow
def test_classes_of_one_name_travel_to_data_workers():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    if "No module named 'lavis'" in done.stderr:
        pytest.skip("LAVIS is not installed")
    assert done.stdout.strip() == "all travel", done.stderr
