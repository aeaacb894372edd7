"""`python -m pal_plugin.pretraining projects/pal/pocket/llm.yaml` reproduces pocket weights."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from omegaconf import OmegaConf

from pal_plugin.config.recipes import find_recipe
from pal_plugin.pretraining.clips import adapt_encoders
from pal_plugin.pretraining.encoders import pretrain_encoders
from pal_plugin.pretraining.llm import pretrain_llm
from pal_plugin.utils.runtime import keep_freed_memory

RECIPES = {"llm": pretrain_llm, "encoders": pretrain_encoders, "clips": adapt_encoders}


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", help="a YAML file, or a name, e.g. pocket/llm, mini/encoders")
    parser.add_argument("--options", nargs="*", default=[], help="overrides, e.g. steps=100")
    args = parser.parse_args()
    keep_freed_memory()
    recipe = OmegaConf.load(find_recipe(args.recipe))
    cfg = OmegaConf.merge(recipe, OmegaConf.from_dotlist(args.options))
    cfg = OmegaConf.to_container(cfg, resolve=True)
    recipe, out = cfg.pop("recipe"), Path(cfg.pop("out"))
    started = time.time()
    result = RECIPES[recipe](out, **cfg)
    print(json.dumps({"recipe": recipe, "seconds": round(time.time() - started), "result": result}))


if __name__ == "__main__":
    main()
