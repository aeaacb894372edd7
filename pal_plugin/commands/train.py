"""`pal train`, which `train.py` calls too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pal_plugin.commands import options, plan

HELP = """\
examples:
  pal train lal_stage1
  pal train lal_stage1 --options run.init_lr=5e-4 run.seed=1
  # a quick test, one minute:
  pal train lal_stage1 --options run.steps_per_epoch=20 \\
      datasets.pal_soundworld.build_info.clips.train=200 \\
      datasets.pal_soundworld.build_info.clips.val=40
  # ten minutes, with the learning rate scheduled by time, evaluated on 50 clips of each split:
  pal train lal_stage1 --options run.max_minutes=10 run.eval_limit=50
  # your own run file:
  pal train my_run.yaml
  # at full size: a stage, an LLM and a variant, in any order, then your own changes:
  pal train stage1 qwen2.5_1.5b lal
  pal train stage1 qwen2.5_1.5b lal my_changes.yaml
  # its cost on 8 GPUs (docs/planning.md; pal plan is the same):
  pal train stage1 qwen2.5_1.5b lal --dry-run --world-size 8 --gpu h100
  # start from another run (its folder, its .safetensors file, or the newest run of a recipe):
  pal train lal_stage2 --options model.checkpoint=latest:lal_stage1

Precedence: package default < run file < --options. A run file holds differences only; all keys with
their defaults and meanings are in pal_plugin/configs/{runs,datasets,models}/*.yaml. Unknown keys
are errors that suggest the nearest ones. Lists are replaced, not merged.

A run writes a folder output/RECIPE-DATE-TIME with report.html, config.yaml, log.txt (JSON lines),
metrics.json, result/SPLIT.jsonl, the weights checkpoint_best and checkpoint_last, and in
checkpoints/ the state to resume from.

  # several processes, on one or more hosts; under Slurm use srun instead:
  torchrun --nproc-per-node 8 -m pal_plugin train RECIPE
  # start, or resume the last interrupted run of this recipe (SIGTERM and SIGUSR1 save the state
  # and exit with code 75):
  pal train RECIPE --resume auto

python train.py --cfg-path RECIPE.yaml is the same command, and also knows LAVIS's own schedules,
tasks etc. where salesforce-lavis is installed.
"""


def resume(argv: Sequence[str], folder: Path | None) -> str:
    """How to resume an interrupted training.

    Args:
        argv: arguments of the command.
        folder: the run folder; None: not made yet.
    """
    if folder is None:
        again = options.same_command("train", argv)
        return f"nothing has been trained yet; start again with: {again}"
    from pal_plugin.training.checkpoint_folder import newest

    saved = newest(folder, check=False)
    again = options.same_command("train", argv, "--job-id", folder.name, "--resume", "auto")
    if saved is None:
        return (
            "no checkpoint yet (they are written every run.save_every steps and after each epoch); "
            f"start over in the same folder with: {again}"
        )
    return f"{saved[0].name} is saved; resume with: {again}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pal train`."""
    options.add_recipe(parser)
    options.add_job_id(parser)
    parser.add_argument(
        "--resume",
        metavar="auto|FOLDER",
        help="resume an interrupted run: auto for the newest of this recipe (with --job-id, the "
        "one of that name) or a new one if there is none; or the run in FOLDER",
    )
    group = parser.add_argument_group(
        "planning", "the cost of a run, without loading weights or reading data"
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print parameters, tokens, FLOPs and memory, then exit",
    )
    plan.add_plan_arguments(group)


def run(args: argparse.Namespace) -> int:
    """Train. Returns the exit code."""
    if args.dry_run:
        return plan.run(args)
    cfg = options.loader(args)().changed(
        run={"evaluate": False, **({"resume": args.resume} if args.resume else {})}
    )
    clock = options.start_log()
    with clock.counted("imports"):
        from pal_plugin.training import launch

    launch.train(cfg, args.job_id, clock)
    return 0
