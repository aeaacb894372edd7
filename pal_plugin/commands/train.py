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
  # a quick look, one minute:
  pal train lal_stage1 --options run.steps_per_epoch=20 \\
      datasets.pal_soundworld.build_info.clips.train=200 \\
      datasets.pal_soundworld.build_info.clips.val=40
  # ten minutes of training, with the rate planned by time; 50 clips of each split are evaluated:
  pal train lal_stage1 --options run.max_minutes=10 run.eval_limit=50
  # your own run file:
  pal train my_run.yaml
  # at full size: a stage, an LLM and a variant, in any order, and what you change behind them:
  pal train stage1 qwen2.5_1.5b lal
  pal train stage1 qwen2.5_1.5b lal my_changes.yaml
  # what it would cost on 8 GPUs (docs/planning.md; pal plan is the same):
  pal train stage1 qwen2.5_1.5b lal --dry-run --world-size 8 --gpu h100
  # start from another run (its folder, its .safetensors file, or the newest run of a recipe):
  pal train lal_stage2 --options model.checkpoint=latest:lal_stage1

The order is package default < run file < --options. A run file holds differences only; the keys
with their defaults and meanings are in pal_plugin/configs/{runs,datasets,models}/*.yaml. A key
that does not exist is an error that names its nearest neighbours. A list is replaced whole.

A run leaves a folder output/RECIPE-DATE-TIME with config.yaml, log.txt (JSON lines), metrics.json,
result/SPLIT.jsonl, samples.SPLIT.html, the weights checkpoint_best and checkpoint_last, and in
checkpoints/ what it needs to resume.

  # several processes, on one machine or many; the same under Slurm with srun:
  torchrun --nproc-per-node 8 -m pal_plugin train RECIPE
  # start, or resume the last run of this recipe that was interrupted (SIGTERM and SIGUSR1 save
  # first and end with exit code 75):
  pal train RECIPE --resume auto

python train.py --cfg-path RECIPE.yaml is the same command, and knows what a run file names of
LAVIS's own (schedules, tasks, ...), where salesforce-lavis is installed.
"""


def resume(argv: Sequence[str], folder: Path | None) -> str:
    """How an interrupted training goes on.

    Args:
        argv: what stood behind the command.
        folder: of the run; None: it had none yet.
    """
    if folder is None:
        return f"nothing was trained yet; start again with: {options.same_command('train', argv)}"
    from pal_plugin.training.checkpoint_folder import newest

    saved = newest(folder, check=False)
    again = options.same_command("train", argv, "--job-id", folder.name, "--resume", "auto")
    if saved is None:
        return (
            "no checkpoint was written yet (run.save_every, or the end of an epoch, writes one); "
            f"this starts anew in the same folder: {again}"
        )
    return f"{saved[0].name} is saved; resume with: {again}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `pal train`."""
    options.add_recipe(parser)
    options.add_job_id(parser)
    parser.add_argument(
        "--resume",
        metavar="auto|FOLDER",
        help="resume an interrupted run: the newest of this recipe (with --job-id, the one of that "
        "name), or the one in FOLDER; auto starts a new one where there is none",
    )
    group = parser.add_argument_group(
        "planning", "what a run costs, without loading weights or reading data"
    )
    group.add_argument(
        "--dry-run", action="store_true", help="print parameters, tokens, FLOPs and memory, and end"
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
