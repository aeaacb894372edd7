"""Questions about the package's clips for evalscope's `general_vmcq`, and a check of its answers.

    python clips.py make DATA [--without-audio]     DATA/clips.jsonl
    python clips.py check OUTPUTS --model MODEL     the answers in OUTPUTS beside the model's own

`check` asks the model, without any server, exactly what evalscope sent. See docs/serving.md.
"""

import argparse
import base64
import json
import random
import sys
from pathlib import Path

from pal_plugin.clips import clips

SPEECH = "What is said?"
LETTERS = "ABCD"
PAIRS = 8


def rows(with_audio: bool) -> list[dict]:
    """Twelve clips one by one, and eight pairs of them, of which one is asked about."""
    rng = random.Random(0)
    known = [clip for clip in clips() if clip.question != SPEECH]
    labels = [clip.label for clip in known]
    asked = [([clip], 0, clip.question) for clip in known]
    for _ in range(PAIRS):
        pair, which = rng.sample(known, 2), rng.randrange(2)
        asked.append((pair, which, f"What do you hear in the {('first', 'second')[which]} clip?"))
    found = []
    for heard, which, question in asked:
        right = heard[which].label
        options = [right, *rng.sample([label for label in labels if label != right], 3)]
        rng.shuffle(options)
        row = {"question": question, "options": options, "answer": LETTERS[options.index(right)]}
        if with_audio:
            places = "".join(f"<audio {number}>" for number in range(1, len(heard) + 1))
            row["question"] = f"{places} {question}"
            row |= {f"audio_{n}": str(clip.path) for n, clip in enumerate(heard, 1)}
        found.append(row)
    return found


def make(folder: Path, with_audio: bool) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in rows(with_audio)]
    (folder / "clips.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{len(lines)} questions in {folder / 'clips.jsonl'}")
    return 0


def check(outputs: Path, name: str | None, max_tokens: int) -> int:
    """Exit code 1 if an answer differs."""
    from pal_plugin.models.opening import open_model

    model, same, different = open_model(name), 0, 0
    for file in sorted(outputs.glob("**/predictions/*/*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            messages = [message_of(message) for message in row["messages"] if is_asked(message)]
            said = row["model_output"]["choices"][0]["message"]["content"]
            wanted = model.chat(messages, max_new_tokens=max_tokens)
            same += said == wanted
            if said != wanted:
                different += 1
                print(f"{file.name} {row['index']}: served {said!r}, the model {wanted!r}")
    print(f"{same} answers are the model's own, {different} are not")
    return 0 if same and not different else 1


def is_asked(message: dict) -> bool:
    return message["role"] in ("system", "user")


def message_of(message: dict) -> dict:
    """A message of evalscope's as `model.chat` takes it."""
    parts = message["content"]
    if isinstance(parts, list):
        parts = [part_of(part) for part in parts]
    return {"role": message["role"], "content": parts}


def part_of(part: dict) -> dict:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    data = part["audio"].partition("base64,")[2]
    clip = base64.b64decode(data) if data else Path(part["audio"]).read_bytes()
    return {"type": "audio", "audio": clip}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    action = actions.add_parser("make")
    action.add_argument("folder", type=Path)
    action.add_argument("--without-audio", action="store_true", help="as a control")
    action = actions.add_parser("check")
    action.add_argument("outputs", type=Path)
    action.add_argument("--model", help="as for pal serve")
    action.add_argument("--max-tokens", type=int, default=48, help="as evalscope asked (48)")
    args = parser.parse_args()
    if args.action == "make":
        return make(args.folder, not args.without_audio)
    return check(args.outputs, args.model, args.max_tokens)


if __name__ == "__main__":
    sys.exit(main())
