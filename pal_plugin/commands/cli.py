"""What `train.py` and `evaluate.py` do.

A mistake of the user (configuration, checkpoint, audio) is printed as one message and ends with
exit code 2; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pal_plugin.planning.command import add_arguments, dry_run
from pal_plugin.training import distributed, preemption
from pal_plugin.training.faults import dead_workers_named
from pal_plugin.training.preemption import Preempted
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.runtime import keep_freed_memory, usable_cores

_TRAIN_HELP = """\
examples:
  python train.py --cfg-path projects/pal/lal_stage1.yaml
  python train.py --cfg-path projects/pal/lal_stage1.yaml --options run.init_lr=5e-4 run.seed=1
  # a quick look, one minute:
  python train.py --cfg-path projects/pal/lal_stage1.yaml --options run.steps_per_epoch=20 \\
      datasets.pal_soundworld.build_info.clips.train=200 \\
      datasets.pal_soundworld.build_info.clips.val=40
  # what it would cost on 8 GPUs (docs/planning.md):
  python train.py --cfg-path projects/pal/lal_stage1.yaml --dry-run --world-size 8 --gpu h100
  # go on from another run (its folder, its .safetensors file, or the newest run of a recipe):
  python train.py --cfg-path projects/pal/lal_stage2.yaml \\
      --options model.checkpoint=latest:lal_stage1

The order is package default < run file < --options. A run file holds differences only; the keys
with their defaults and meanings are in pal_plugin/configs/{runs,datasets,models}/*.yaml. A key
that does not exist is an error that names its nearest neighbours. A list is replaced whole.

A run leaves a folder output/RECIPE-DATE-TIME with config.yaml, log.txt (JSON lines), metrics.json,
result/SPLIT.jsonl, samples.SPLIT.html, the weights checkpoint_best and checkpoint_last, and in
checkpoints/ what it needs to go on.

  # several processes, on one machine or many; the same under Slurm with srun:
  torchrun --nproc-per-node 8 train.py --cfg-path RECIPE.yaml
  # start, or go on where the last run of this recipe was interrupted (SIGTERM and SIGUSR1 save
  # first and end with exit code 75):
  python train.py --cfg-path RECIPE.yaml --resume auto
"""

_EVALUATE_HELP = """\
examples:
  # the newest run of a recipe, on the recipe's own validation and test splits:
  python evaluate.py --cfg-path projects/pal/lal_stage1.yaml
  # one certain run or checkpoint file:
  python evaluate.py --cfg-path projects/pal/lal_stage1.yaml \\
      --options model.checkpoint=output/lal_stage1-20260101-120000
  # your own clips, described by a CSV in ESC-50's format:
  python evaluate.py --cfg-path projects/pal/mini/eval_esc50.yaml \\
      --options data.audio=FOLDER data.annotations=CSV model.checkpoint=RUN_OR_FILE

The model is built as the checkpoint's own JSON describes it, so that what is evaluated is what
was trained; --options may change it, a run file's model section only chooses the checkpoint.
"""


def train(argv: list[str] | None = None) -> int:
    """Entry of `train.py`. Returns the exit code."""
    parser = _parser("Train a model as a run file says.", _TRAIN_HELP)
    add_arguments(parser)
    parser.add_argument(
        "--resume",
        metavar="auto|FOLDER",
        help="go on with an interrupted run: the newest of this recipe (with --job-id, the one of "
        "that name), or the one in FOLDER; auto starts a new one where there is none",
    )
    return _guarded(_train, argv, parser)


def evaluate(argv: list[str] | None = None) -> int:
    """Entry of `evaluate.py`. Returns the exit code."""
    parser = _parser("Evaluate a trained model.", _EVALUATE_HELP)
    parser.add_argument(
        "--mask-audio",
        action="store_true",
        help="ask everything a second time without the audio, whatever the run file says; the "
        "table shows both",
    )
    return _guarded(_evaluate, argv, parser)


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def set_threads(threads: int | str | None, num_workers: int, processes: int = 1) -> None:
    """`run.torch_threads`: a number, "auto" for the cores that data workers leave, None for none.

    Args:
        processes: training processes that share this machine's cores.

    Raises:
        ConfigError: anything else.
    """
    if threads is None:
        return
    if threads == "auto":
        threads = max(1, usable_cores() // processes - num_workers)
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ConfigError(f"run.torch_threads is {threads!r}; expected a number, auto or null")
    torch.set_num_threads(threads)


def _train(args: argparse.Namespace) -> None:
    from pal_plugin.config.run_config import Config

    if args.dry_run:
        dry_run(args)
        return
    cfg = Config(args)
    cfg.config.run.evaluate = False
    if args.resume:
        cfg.config.run.resume = args.resume
    world = _join(cfg)
    run_dir = world.from_first(_interrupted(cfg, args.job_id) if world.first else None)
    if run_dir is None:
        checkpoint = cfg.model_cfg.get("checkpoint")
        if checkpoint:
            cfg.config.model.checkpoint = _located(str(checkpoint), cfg)
        _runner(cfg, args.job_id).train()
        return
    from pal_plugin.training import resuming
    from pal_plugin.training.rundir import FINISHED

    if (run_dir / FINISHED).is_file():
        logging.info("%s is finished; nothing to do", run_dir)
        return
    saved = resuming.saved_config(run_dir)
    # What it started from, though `latest:` may mean another run by now.
    cfg.config.model.checkpoint = saved["model"].get("checkpoint")
    cfg.config.run.output_dir = str(run_dir.parent)
    _runner(cfg, run_dir.name).train()


def _interrupted(cfg: Any, job_id: str | None) -> Path | None:
    from pal_plugin.training.resuming import find_run

    run = cfg.run_cfg
    if not run.resume:
        return None
    return find_run(run.output_dir, job_id, str(run.resume), cfg.to_dict())


def _join(cfg: Any) -> Any:
    """Meet the other processes, where there are some; only the first one talks."""
    from pal_plugin.training import distributed

    run = cfg.run_cfg
    device = run.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    world = distributed.join(str(device).split(":")[0], float(run.timeout_s))
    if not world.first:
        logging.getLogger().setLevel(logging.WARNING)
    return world


def _evaluate(args: argparse.Namespace) -> None:
    from pal_plugin.config.run_config import Config, parse_options

    if args.mask_audio:
        args.options = [*args.options, "run.masked_audio=true"]
    cfg = Config(args)
    asked = parse_options(args.options).get("model", {})
    location = cfg.model_cfg.get("checkpoint") if "checkpoint" in asked else None
    if cfg.run_cfg.evaluate:  # a run file made for evaluation names its checkpoint itself
        location = cfg.model_cfg.get("checkpoint")
        if not location:
            raise ConfigError(
                "model.checkpoint is null: give a run folder, a .safetensors file or "
                "latest:RECIPE; train one with: python train.py --cfg-path "
                "projects/pal/lal_stage1.yaml"
            )
    # A training recipe's own checkpoint is what it starts from, not what it makes.
    checkpoint = _located(str(location or f"latest:{cfg.run_cfg.name}"), cfg)
    as_trained = _model_section(checkpoint)
    if as_trained is not None:
        _refuse_other_type(asked, as_trained, checkpoint)
        cfg = Config(args, model_base=as_trained)
    cfg.config.model.checkpoint = checkpoint
    cfg.config.run.evaluate = True
    if not cfg.run_cfg.name.startswith("eval"):  # so that latest: never takes it for training
        cfg.config.run.name = f"eval-{cfg.run_cfg.name}"
    model = cfg.model_cfg
    _join(cfg)
    logging.info("evaluating %s (%s, %s)", checkpoint, model.arch, model.model_type)
    _runner(cfg, args.job_id).evaluate()


def _runner(cfg: Any, job_id: str | None) -> Any:
    from lavis.common.registry import registry
    from lavis.tasks import setup_task
    from transformers.utils.logging import disable_progress_bar

    set_seed(int(cfg.run_cfg.seed))
    disable_progress_bar()  # transformers' bars for loading a few megabytes
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    set_threads(cfg.run_cfg.torch_threads, int(cfg.run_cfg.num_workers), beside)
    if torch.cuda.is_available() and cfg.run_cfg.tf32:
        torch.set_float32_matmul_precision("high")
    task = setup_task(cfg)
    model = _as_user_error("the model cannot be built", task.build_model, cfg)
    datasets = _as_user_error("the datasets cannot be built", task.build_datasets, cfg)
    return registry.get_runner_class(cfg.run_cfg.runner)(
        cfg=cfg, task=task, model=model, datasets=datasets, job_id=job_id
    )


def _as_user_error(what: str, build: Callable[[Any], Any], cfg: Any) -> Any:
    """Building from a configuration fails with ValueError where the configuration is wrong."""
    try:
        return build(cfg)
    except ConfigError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"{what}: {error}") from error


def _located(location: str, cfg: Any) -> str:
    from pal_plugin.training.rundir import resolve_checkpoint

    if location.startswith("pocket://"):
        return location
    return str(resolve_checkpoint(location, cfg.run_cfg.output_dir))


def _model_section(checkpoint: str) -> dict | None:
    """The model section that a checkpoint's JSON keeps, None where there is none."""
    facts = Path(checkpoint).with_suffix(".json")
    if checkpoint.startswith("pocket://") or not facts.is_file():
        return None
    try:
        return json.loads(facts.read_text("utf-8")).get("model")
    except json.JSONDecodeError as error:
        raise ConfigError(f"{facts} beside the checkpoint is not JSON: {error}") from error


def _refuse_other_type(asked: dict, as_trained: dict, checkpoint: str) -> None:
    for key in ("arch", "model_type"):
        if key in asked and asked[key] != as_trained.get(key):
            raise ConfigError(
                f"{checkpoint} was trained as {key} {as_trained.get(key)!r}, and --options ask for "
                f"{asked[key]!r}; leave model.{key} out, or choose a checkpoint of that kind"
            )


def _parser(about: str, examples: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=about, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cfg-path", required=True, metavar="YAML", help="the run file")
    parser.add_argument(
        "--options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help='changes to the run file, as "a.b=c" or "a.b c"',
    )
    parser.add_argument(
        "--job-id",
        type=_run_name,
        metavar="NAME",
        help="name of the run folder (default: RECIPE-DATE-TIME); an interrupted evaluation of "
        "this name goes on",
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show where an error came from in the code"
    )
    return parser


def _run_name(text: str) -> str:
    """A folder's name, so that a run stays in `run.output_dir`."""
    if text in ("", ".", "..") or Path(text).name != text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a name of one folder; run.output_dir chooses where it is made"
        )
    return text


def _guarded(
    run: Callable[[argparse.Namespace], None],
    argv: list[str] | None,
    parser: argparse.ArgumentParser,
) -> int:
    args = parser.parse_args(argv)
    code = _run_guarded(run, args)
    distributed.leave(code)
    return code


def _run_guarded(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    keep_freed_memory()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger().setLevel(logging.INFO)
    try:
        if importlib.util.find_spec("lavis") is None:
            raise ConfigError(
                "salesforce-lavis is not installed; its metadata pins old packages, so install it "
                "without them: pip install --no-deps salesforce-lavis==1.0.2"
            )
        with dead_workers_named():  # torch raises it wherever the process is by then
            run(args)
    except _user_errors() as error:
        if args.traceback:
            raise
        world = distributed.current()
        who = "error" if world.size == 1 else f"error in {world}"
        print(f"{who}: {_message(error)}", file=sys.stderr)
        return 2
    except Preempted:
        print(
            f"{distributed.current()}: told to stop; everything is saved, and --resume auto goes "
            "on",
            file=sys.stderr,
        )
        return preemption.EXIT_CODE
    except KeyboardInterrupt:
        print("interrupted; checkpoints and answers written so far are whole", file=sys.stderr)
        return 130
    return 0


def _message(error: Exception) -> str:
    """The error's own words, without the traceback that a data worker wraps around them."""
    text = str(error)
    if not text.startswith("Caught "):
        return text
    return re.split(r"^[\w.]+Error: ", text, flags=re.MULTILINE)[-1].strip()


def _user_errors() -> tuple[type[Exception], ...]:
    from pal_plugin.audio.io import AudioError
    from pal_plugin.training.checkpointing import SaveError
    from pal_plugin.training.faults import (
        DataWorkerError,
        NonFiniteLossError,
        OutOfMemoryBatchError,
    )

    faults = (NonFiniteLossError, OutOfMemoryBatchError, DataWorkerError, SaveError)
    return (ConfigError, AudioError, FileNotFoundError, *faults)
