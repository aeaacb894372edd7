"""Train a model's folder by Hugging Face's Trainer; what its stage freezes stays frozen.

    python projects/pal/huggingface/train.py MODEL ROWS.jsonl OUTPUT [--lora] [--max_steps 100 ...]

MODEL is a folder of `save_pretrained`. ROWS has a conversation a line, {"messages": [...]}, whose
clips are paths (docs/huggingface.md). Further options are TrainingArguments. Several processes:
`torchrun --nproc-per-node 2 projects/pal/huggingface/train.py ...`.
"""

import json
import sys
from functools import partial
from pathlib import Path

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoProcessor, HfArgumentParser, Trainer
from transformers import TrainingArguments as Arguments

import pal_plugin.hosts.huggingface  # noqa: F401 - registers


def collate(processor, rows):
    """The tensors of a batch, with the answers as labels."""
    return processor.apply_chat_template(
        [row["messages"] for row in rows], tokenize=True, return_dict=True, return_labels=True
    )


def with_lora(model):
    """Adapters by peft in the LLM, beside the connectors; not in encoders of the same names."""
    if model.audio_llm.stage.llm == "lora":
        sys.exit(
            "MODEL has adapters of its own, which peft's would replace: "
            "AudioLLM.from_pretrained(MODEL).merge_lora().save_pretrained(FOLDER), and give FOLDER"
        )
    groups = [f"audio_llm.connectors.{group}" for group in model.audio_llm.connectors]
    targets = r"audio_llm\.llm\..*\.(q_proj|k_proj|v_proj|o_proj)"
    return get_peft_model(model, LoraConfig(target_modules=targets, modules_to_save=groups))


def main(argv: list[str]) -> None:
    source, rows, output, *options = argv
    lora = "--lora" in options
    settings = {
        "--output_dir": output,
        "--remove_unused_columns": "False",  # the rows are messages; the collator makes columns
        "--report_to": "none",
    }
    given = [option for option in options if option != "--lora"]
    arguments = [*(word for pair in settings.items() for word in pair), *given]
    (training,) = HfArgumentParser(Arguments).parse_args_into_dataclasses(arguments)
    model = AutoModelForCausalLM.from_pretrained(source)
    processor = AutoProcessor.from_pretrained(source)
    lines = Path(rows).read_text("utf-8").splitlines()
    trainer = Trainer(
        model=with_lora(model) if lora else model,
        args=training,
        train_dataset=[json.loads(line) for line in lines],
        data_collator=partial(collate, processor),
        processing_class=processor,
    )
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()


if __name__ == "__main__":
    main(sys.argv[1:])
