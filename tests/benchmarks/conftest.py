"""Makes this repository's `benchmarks` importable: fairscale installs one of the same name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
