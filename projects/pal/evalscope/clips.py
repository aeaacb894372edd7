"""Questions about twenty of ESC-10's clips for evalscope's `general_vmcq` and for `pal evaluate`,
and a comparison of the answers. See docs/serving.md.

    python clips.py make DATA --audio FOLDER            one.jsonl and two.jsonl for evalscope, and
                                                        one.pal.jsonl and two.pal.jsonl for pal
    python clips.py compare SERVED RUN --audio FOLDER   SERVED: evalscope's outputs; RUN: pal's

`FOLDER` has the files of `pal data fetch esc10`. With `--without-audio`, the control: evalscope's
questions without the clips, and pal's answers to masked audio.
"""

import argparse
import csv
import json
import random
import re
import sys
from pathlib import Path

from pal_plugin.utils.messages import question_and_answer

CSV = "esc10_f1234.csv"
#: The clips: the first of each class in this fold.
FOLD, OF_EACH = "4", 2
LETTERS = "ABCD"
#: What evalscope is told (`prompt_template`): its own text would stand before the clips.
TEMPLATE = "{question}\n{choices}"
PLACE = re.compile(r"<audio (\d+)>")


def known_clips(folder: Path) -> list[tuple[Path, str]]:
    """`(file, label)` of the twenty clips."""
    with (folder / CSV).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["fold"] == FOLD]
    found = []
    for label in sorted({row["category"] for row in rows}):
        chosen = [row for row in rows if row["category"] == label][:OF_EACH]
        found += [(folder / row["filename"], label.replace("_", " ")) for row in chosen]
    return found


def questions(folder: Path) -> dict[str, list[dict]]:
    """Each clip is asked about alone, and beside another one: `question, options, answer, clips`.

    Half of the pairs open the message, the others stand among the text.
    """
    rng, clips = random.Random(0), known_clips(folder)
    labels = sorted({label for _, label in clips})
    asked: dict[str, list[dict]] = {"one": [], "two": []}
    for number, (clip, label) in enumerate(clips):
        options = [label, *rng.sample([other for other in labels if other != label], 3)]
        rng.shuffle(options)
        pair = [clip, rng.choice([path for path, other in clips if other != label])]
        rng.shuffle(pair)
        places = ("The first clip: <audio 1> The second clip: <audio 2>", "<audio 1><audio 2>")
        which = ("first", "second")[pair.index(clip)]
        text = f"{places[number % 2]} What do you hear in the {which} clip?"
        row = {"options": options, "answer": LETTERS[options.index(label)]}
        asked["one"].append({"question": "<audio 1> What do you hear?", **row, "clips": [clip]})
        asked["two"].append({"question": text, **row, "clips": pair})
    return asked


def for_evalscope(row: dict, with_audio: bool) -> dict:
    """A row of `general_vmcq`."""
    fields = {name: row[name] for name in ("question", "options", "answer")}
    if with_audio:
        return fields | {f"audio_{n}": str(clip) for n, clip in enumerate(row["clips"], 1)}
    return fields | {"question": PLACE.sub("", row["question"]).strip()}


def sent(row: dict, with_audio: bool) -> list[str | Path]:
    """The texts and clips of the message that evalscope makes of a row."""
    pairs = zip(LETTERS, row["options"], strict=True)
    choices = "\n".join(f"{letter}) {option}" for letter, option in pairs)
    question = for_evalscope(row, with_audio)["question"]
    pieces = PLACE.split(TEMPLATE.format(question=question, choices=choices))
    parts = [row["clips"][int(p) - 1] if n % 2 else p for n, p in enumerate(pieces)]
    return [part for part in parts if isinstance(part, Path) or part.strip()]


def for_pal(row: dict) -> dict:
    """A row of the reader `own`, or of `messages` for several clips."""
    right, parts = row["options"][LETTERS.index(row["answer"])], sent(row, True)
    if len(row["clips"]) == 1:
        clip, text = parts
        item = {"task": "multiple_choice", "question": text.strip(), "answer": right}
        return {"audio": clip.name, "items": [{**item, "candidates": row["options"]}]}
    content = [
        {"type": "audio", "audio": part.name}
        if isinstance(part, Path)
        else {"type": "text", "text": part}
        for part in parts
    ]
    answer = {"role": "assistant", "content": right}
    return {"messages": [{"role": "user", "content": content}, answer]}


def make(folder: Path, audio: Path, with_audio: bool) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in questions(audio).items():
        write(folder / f"{name}.jsonl", [for_evalscope(row, with_audio) for row in rows])
        if with_audio:
            named = [{"id": f"{name}-{n}", **for_pal(row)} for n, row in enumerate(rows)]
            write(folder / f"{name}.pal.jsonl", named)
    return 0


def compare(served: Path, run: Path, audio: Path, with_audio: bool) -> int:
    """Exit code 1 if an answer differs, or is missing."""
    ours = {row["sample_id"]: row for row in read(run / "result" / "test.jsonl")}
    whole = True
    for name, rows in questions(audio).items():
        files = served.glob(f"predictions/*/general_vmcq_{name}.jsonl")
        theirs = {row["index"]: row for file in files for row in read(file)}
        same = 0
        for number, row in enumerate(rows):
            where = f"{name}-{number}"
            if number not in theirs or where not in ours:
                print(f"{where}: no answer by {'pal' if number in theirs else 'evalscope'}")
                continue
            check(where, row, theirs[number], ours[where], with_audio)
            answer = theirs[number]["model_output"]["choices"][0]["message"]["content"]
            wanted = ours[where]["prediction" if with_audio else "prediction_masked"]
            same += answer == wanted
            if answer != wanted:
                print(f"{where}: served {answer!r}, evaluated {wanted!r}")
        print(f"{name}: {same} of {len(rows)} served answers are those of pal evaluate")
        whole &= same == len(rows)
    return 0 if whole else 1


def check(where: str, row: dict, theirs: dict, ours: dict, with_audio: bool) -> None:
    """Ends with a message unless both were asked the row."""
    messages = [message for message in theirs["messages"] if message["role"] != "assistant"]
    heard = [part_of(part) for message in messages for part in message["content"]]
    if heard != sent(row, with_audio):
        sys.exit(f"{where}: evalscope sent {heard}; expected {sent(row, with_audio)}")
    item = for_pal(row)
    many = "messages" in item
    text = question_and_answer(item["messages"])[0] if many else item["items"][0]["question"]
    if ours["question"] != text:
        sys.exit(f"{where}: pal evaluate asked {ours['question']!r}; expected {text!r}")


def part_of(part: dict) -> str | Path:
    return Path(part["audio"]) if part["type"] == "audio" else part["text"]


def read(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def write(file: Path, rows: list[dict]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} questions in {file}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    for name, places in (("make", ["data"]), ("compare", ["served", "run"])):
        action = actions.add_parser(name)
        for place in places:
            action.add_argument(place, type=Path)
        action.add_argument("--audio", type=Path, required=True, help="the folder of the clips")
        action.add_argument("--without-audio", action="store_true", help="as a control")
    args = parser.parse_args()
    audio, with_audio = args.audio.absolute(), not args.without_audio
    if args.action == "make":
        return make(args.data, audio, with_audio)
    return compare(args.served, args.run, audio, with_audio)


if __name__ == "__main__":
    sys.exit(main())
