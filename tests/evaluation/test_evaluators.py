"""Each kind of question through `valid_step` and the summary, with a model that is told what to
say."""

import json
from pathlib import Path

import pytest
import torch

from pal_plugin.corpora.items import multiple_choice
from pal_plugin.datasets.collate import collate_clips
from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.utils.errors import ConfigError

MMAU = Path(__file__).parents[3] / "shared/data/annotations/mmau/mmau-test-mini_excerpt.json"
LABELS = ["rain", "dog", "bell"]


class Told:
    """Answers by clip: a text to generate and, by candidate, a likelihood. Masked, it says less."""

    def __init__(self, says=None, likes=None):
        self.says, self.likes, self.asked, self.generation = says or {}, likes or {}, [], []

    def generate(self, samples, **generation):
        self.generation.append(generation)
        self.asked += samples["text_input"]
        if "audio_mask" in samples:
            return ["nothing"] * len(samples["text_input"])
        said = [self.says[name] for name in samples["sample_id"]]
        return [text(q) if callable(text) else text
                for text, q in zip(said, samples["text_input"], strict=True)]  # fmt: skip

    predict_answers = generate

    def predict_class(self, samples, candidates):
        rows = [
            [
                0.0 if "audio_mask" in samples else float(self.likes[name].get(c, -9))
                for c in candidates
            ]
            for name in samples["sample_id"]
        ]
        scores = torch.tensor(rows)
        return {"predictions": [candidates[i] for i in scores.argmax(1)], "scores": scores}

    def __call__(self, samples):
        masked = "audio_mask" in samples
        return {"per_row_loss": torch.full((len(samples["text_input"]),), 2.0 if masked else 1.0)}


def batch(*items):
    """One clip per item, named a, b, c, ..."""
    clips = [
        {"audio": torch.zeros(1), "sample_id": "abcdefghij"[i], "items": [item]}
        for i, item in enumerate(items)
    ]
    return collate_clips(clips, torch.stack)


def item(task, answer, **more):
    return {"task": task, "question": f"{task}?", "answer": answer, **more}


def evaluate(model, samples, **settings):
    task = InstructTask(select_by=None, **settings)
    task.before_evaluation(model=model, dataset=None)
    rows = task.valid_step(model, samples)
    entries = task.after_evaluation(rows, "val")
    return task, rows, entries


def labelled(*answers):
    return batch(*(item("classification", a, candidates=LABELS) for a in answers))


def test_classification_by_likelihood_has_f1_beside_accuracy():
    model = Told(likes={"a": {"rain": 0}, "b": {"rain": 0}, "c": {"bell": 0}})
    task, rows, entries = evaluate(model, labelled("rain", "dog", "bell"))
    entry = entries["classification"]
    assert entry["accuracy"] == entry["micro_f1"] == pytest.approx(2 / 3)
    assert entry["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert entry["accuracy_masked_audio"] == pytest.approx(1 / 3)
    how = task.describe("val")["classification"]["how"]
    assert "likelihood" in how["accuracy"]
    assert how["macro_f1"].startswith("scikit-learn")
    assert "said" not in rows[0]


def test_classification_by_generated_text_says_what_named_nothing():
    model = Told(says={"a": "The rain falls", "b": "a dog and a bell", "c": "a Bell."})
    settings = {"classification": {"by": "string"}}
    task, rows, entries = evaluate(model, labelled("rain", "dog", "bell"), evaluation=settings)
    assert [row["prediction"] for row in rows] == ["rain", "", "bell"]
    assert rows[1]["said"] == "a dog and a bell"
    assert entries["classification"]["accuracy"] == pytest.approx(2 / 3)
    assert entries["classification"]["unmatched"] == pytest.approx(1 / 3)
    assert entries["classification"]["unmatched_masked_audio"] == 1.0
    assert "names" in task.describe("val")["classification"]["how"]["accuracy"]
    with pytest.raises(ConfigError, match=r"classification\.embedder"):
        InstructTask(evaluation={"classification": {"by": "embedding"}})
    with pytest.raises(ConfigError, match="'string'"):
        InstructTask(evaluation={"classification": {"by": "strings"}})


def tagged(*answers):
    return batch(
        *(item("tagging", "; ".join(a), answers=list(a), candidates=LABELS) for a in answers)
    )


def test_tagging_ranks_clips_for_each_label():
    likes = {
        "a": {"rain": 3, "dog": 1, "bell": 0},
        "b": {"rain": 2, "dog": 3, "bell": 0},
        "c": {"rain": 4, "dog": 2, "bell": 0},
    }
    model = Told(likes=likes)
    task, rows, entries = evaluate(model, tagged(["rain"], ["rain", "dog"], ["dog"]))
    # rain: c, a, b in order, right are a and b; dog: b, c, a, right are b and c; bell never.
    rain, dog = (1 / 2 + 2 / 3) / 2, 1.0
    assert entries["tagging"]["map"] == pytest.approx((rain + dog) / 2)
    assert entries["tagging"]["chance"] == pytest.approx(2 / 3)
    # The best label: rain, dog, rain, against 4 labels that are right.
    assert entries["tagging"]["micro_f1"] == pytest.approx(2 * 2 / (3 + 4))
    assert rows[1]["right"] == [0, 1]
    assert rows[1]["scores"] == [2.0, 3.0, 0.0]
    assert "1 that no clip has" in task.describe("val")["tagging"]["how"]["map"]


def test_a_classification_of_several_labels_is_tagging():
    question = item("classification", "rain; dog", labels=["rain", "dog"], candidates=LABELS)
    model = Told(likes={"a": {"rain": 1}})
    _, rows, entries = evaluate(model, batch(question))
    assert rows[0]["task"] == "tagging"
    assert rows[0]["answers"] == ["rain", "dog"]
    assert "tagging" in entries


def test_a_label_outside_the_closed_set_is_an_error():
    with pytest.raises(ConfigError, match=r"a#0.*\['horn'\]"):
        evaluate(Told(likes={"a": {}}), tagged(["rain", "horn"]))
    with pytest.raises(ConfigError, match="no candidates"):
        evaluate(Told(), batch(item("classification", "rain")))


def test_captions_are_scored_against_all_references_on_request():
    says = {"a": "a dog barks loudly", "b": "it rains", "c": "a bell"}
    texts = [["a dog barks loudly", "x"], ["the rain is falling"], ["a bell"]]
    samples = batch(*(item("caption", t[0], answers=t) for t in texts))
    settings = {"caption": {"scores": True, "tokenizer": "plain", "metrics": ["rouge_l", "bleu"]}}
    task, rows, entries = evaluate(Told(says), samples, evaluation=settings, caption_examples=1)
    entry = entries["caption"]
    assert (entry["loss"], entry["loss_masked_audio"]) == (1.0, 2.0)
    assert [row["figures"]["rouge_l"] for row in rows] == pytest.approx([1.0, 0.0, 1.0])
    assert entry["rouge_l"] == pytest.approx(2 / 3)
    assert entry["rouge_l_masked_audio"] == 0.0
    assert 0 < entry["bleu_1"] < 1
    how = task.describe("val")["caption"]["how"]
    assert "tokenizer: plain" in how["bleu_1"]
    assert "pycocoevalcap" in how["bleu_1"]


def test_without_scores_a_few_captions_are_generated_the_same_with_audio_and_without():
    says = dict.fromkeys("abc", "text")
    samples = batch(*(item("caption", "x") for _ in range(3)))
    model = Told(says)
    task, rows, _ = evaluate(model, samples, caption_examples=2)
    pairs = [(row["prediction"], row["prediction_masked"]) for row in rows]
    assert sorted(pairs, key=str) == [("text", "nothing")] * 2 + [(None, None)]
    assert len(model.asked) == 4  # none in vain
    assert "scores=true" in task.describe("val")["caption"]["missing"]["captioning scores"]
    _, rows, _ = evaluate(Told(says), samples, caption_examples=0)
    assert {row["prediction"] for row in rows} == {None}


def captioned(number):
    """A batch of two clips out of 40, each with a caption's question."""
    names = [f"clip {2 * number}", f"clip {2 * number + 1}"]
    clips = [
        {"audio": torch.zeros(1), "sample_id": name, "items": [item("caption", "x")]}
        for name in names
    ]
    return collate_clips(clips, torch.stack)


def shown(rows, masked=""):
    return {row["id"] for row in rows if row[f"prediction{masked}"] is not None}


def test_the_captions_for_reading_do_not_depend_on_who_asks_and_in_which_order():
    says = {f"clip {number}": "text" for number in range(40)}

    def asked(*parts, interrupted=()):
        """What processes answer, each with its own batches; gathered by the first."""
        rows, model = [], Told(says)
        for part in parts:
            task = InstructTask(select_by=None, caption_examples=3)
            task.before_evaluation(model=model, dataset=None)
            task.resume(list(interrupted))
            for number in part:
                rows += task.valid_step(model, captioned(number))
        return task, rows, model

    chosen = None
    numbers = list(range(20))
    for parts in ((numbers,), (numbers[::-1],), (numbers[::2], numbers[1::2]),
                  (numbers[:3], numbers[3:11], numbers[11:])):  # fmt: skip
        task, rows, model = asked(*parts)
        assert len(model.asked) / 2 <= 3 * 4 * len(parts)  # of 40, with audio and without
        task.after_evaluation(rows, "val")
        assert len(shown(rows)) == 3
        chosen = chosen or shown(rows)
        assert shown(rows) == shown(rows, "_masked") == chosen
    # Gone on with behind an interruption, and by another number of processes.
    _, before, _ = asked(numbers[:8:2], numbers[1:8:2])
    task, after, _ = asked(numbers[8:], interrupted=before)
    task.after_evaluation([*before, *after], "val")
    assert shown([*before, *after]) == chosen


def test_a_loss_that_is_no_number_is_named_and_left_out(tmp_path):
    samples = batch(*(item("caption", "x") for _ in range(3)))

    class Overflows(Told):
        def __call__(self, samples):
            masked = "audio_mask" in samples
            return {
                "per_row_loss": torch.tensor([1.0, float("nan"), float("inf") if masked else 3])
            }

    task, rows, entries = evaluate(Overflows(dict.fromkeys("abc", "text")), samples)
    entry = entries["caption"]
    assert (entry["loss"], entry["loss_masked_audio"]) == (2.0, 1.0)
    assert [row["loss"] for row in rows] == [1.0, None, 3.0]
    missing = task.describe("val")["caption"]["missing"]
    assert "(b#0)" in missing["loss of 1 captions"]
    assert "(b#0, c#0)" in missing["loss of 2 captions, audio masked"]
    # The rows are the same when they are read again, and have an interval.
    again = json.loads(json.dumps(rows))
    assert task.after_evaluation(again, "val")["caption"] == entry
    for row in again:
        row["loss"] = None
    nothing = task.after_evaluation(again, "val")["caption"]
    assert (nothing["loss"], nothing["perplexity"]) == (None, None)


def test_transcripts_have_three_rates():
    says = {"a": "twenty one dogs, isn't it", "b": "One two"}
    samples = batch(item("transcript", "21 dogs is not it"), item("transcript", "one two"))
    task, _, entries = evaluate(Told(says), samples)
    entry = entries["transcript"]
    assert entry["wer_whisper"] == 0.0
    assert entry["wer_raw"] == pytest.approx((4 + 1) / (5 + 2))
    assert entry["wer"] == pytest.approx(4 / 7)
    assert "EnglishTextNormalizer" in task.describe("val")["transcript"]["how"]["wer_whisper"]


def choose(answer, choices, **more):
    return multiple_choice("mmau", "Which?", choices, answer, "sound", **more)


def test_multiple_choice_is_read_in_two_ways_and_ranked():
    choices = ["Man", "Woman", "Child"]
    samples = batch(
        *(choose("Woman", choices, facts={"difficulty": d, "id": i})
          for i, d in enumerate(["easy", "easy", "hard", "hard"]))
    )  # fmt: skip
    says = {"a": "(B)", "b": "A woman.", "c": "I cannot tell", "d": "not a man, a woman"}
    likes = {"a": {"Woman": 0}, "b": {"Man": 0}, "c": {"Woman": 0}, "d": {"Child": 0}}
    _, rows, entries = evaluate(Told(says, likes), samples)
    entry = entries["multiple_choice"]
    assert entry["accuracy"] == 0.75
    assert entry["accuracy_mmau_rule"] == 0.25  # neither letters nor "not a man"
    assert entry["accuracy_ranked"] == 0.5
    assert entry["unparsed"] == 0.25
    assert entry["unparsed_masked_audio"] == 1.0
    assert entry["chance"] == pytest.approx(1 / 3)
    assert entries["multiple_choice/difficulty=easy"]["accuracy"] == 1.0
    assert entries["multiple_choice/difficulty=hard"]["accuracy"] == 0.5
    assert not any("/id=" in name for name in entries)  # a value per row is no category
    assert rows[2]["asked"][0]["read"] is None
    assert "accuracy_sd" not in entry


def test_shuffled_choices_show_a_model_that_likes_the_first():
    choices = ["Man", "Woman", "Child", "Robot"]
    samples = batch(*(choose("Man", choices) for _ in range(10)))
    model = Told(dict.fromkeys("abcdefghij", "A"), {name: {"Man": 0} for name in "abcdefghij"})
    settings = {"multiple_choice": {"shuffles": 6}}
    _, rows, entries = evaluate(model, samples, evaluation=settings, masked_audio=False)
    entry = entries["multiple_choice"]
    assert entry["accuracy_ranked"] == 1.0
    assert 0.05 < entry["accuracy"] < 0.5
    assert 0 < entry["accuracy_sd"] < 0.5
    assert len(rows[0]["asked"]) == 6
    assert all(sorted(a["choices"]) == sorted(choices) for row in rows for a in row["asked"])
    firsts = [row["asked"][0]["choices"] for row in rows]
    for choices, question in zip(firsts, model.asked[: len(rows)], strict=True):
        assert str(choices) in question
    _, _, given = evaluate(model, samples, masked_audio=False)
    assert given["multiple_choice"]["accuracy"] == 1.0


def test_choices_are_put_into_a_bare_question_and_not_twice():
    bare = item("multiple_choice", "dog", candidates=["rain", "dog"], question="Which?")
    written = item("multiple_choice", "dog", candidates=["rain", "dog"], question="rain or dog?")
    model = Told(dict.fromkeys("ab", "dog"), {name: {"dog": 0} for name in "ab"})
    evaluate(model, batch(bare, written), masked_audio=False)
    assert model.asked == [
        "Which?  Select one option from the provided choices.\n['rain', 'dog'].",
        "rain or dog?",
    ]
    settings = {"multiple_choice": {"shuffles": 9}}  # one of the orders is not the given one
    with pytest.raises(ConfigError, match="cannot be shuffled"):
        evaluate(model, batch(written), evaluation=settings)
    with pytest.raises(ConfigError, match="among its candidates"):
        evaluate(model, batch(item("multiple_choice", "cat", candidates=["rain", "dog"])))


@pytest.mark.shared
@pytest.mark.skipif(not MMAU.is_file(), reason=f"no excerpt of MMAU at {MMAU}")
def test_real_mmau_rows_go_through_the_multiple_choice_path():
    rows = json.loads(MMAU.read_text("utf-8"))
    assert len(rows) > 200
    clips, says, likes = [], {}, {}
    for number, row in enumerate(rows):
        facts = {k: row[k] for k in ("difficulty", "category", "task")}
        question = multiple_choice(
            "mmau", row["question"], row["choices"], row["answer"], row["task"], facts=facts
        )
        clips.append({"audio": torch.zeros(1), "sample_id": row["id"], "items": [question]})
        letter = "ABCDEFGH"[row["choices"].index(row["answer"])]
        # By turns: the text, a sentence, a letter, nothing.
        says[row["id"]] = [row["answer"], f"The answer is {row['answer']}.", f"({letter})", ""][
            number % 4
        ]
        likes[row["id"]] = {row["answer"]: 0}
    _, found, entries = evaluate(Told(says, likes), collate_clips(clips, torch.stack))
    turns = {i: [r for n, r in enumerate(found) if n % 4 == i] for i in range(4)}
    told = [row for i in (0, 1, 2) for row in turns[i]]
    differ = [row for row in told if row["asked"][0]["read"] != row["reference"]]
    # A note "D" that is the third choice: its name, or the letter of the fourth?
    assert all(len(row["reference"]) == 1 for row in differ)
    assert all(row["asked"][0]["read"] is None for row in [*differ, *turns[3]])
    assert len(differ) <= 1
    unparsed = len(differ) + len(turns[3])
    assert entries["multiple_choice"]["unparsed"] == pytest.approx(unparsed / len(found))
    assert entries["multiple_choice"]["accuracy_ranked"] == 1.0
    assert {"multiple_choice/sound", "multiple_choice/difficulty=medium"} <= set(entries)


def test_judged_answers_are_written_for_the_judge(tmp_path):
    samples = batch(item("reasoning", "a storm", facts={"caption": "thunder"}))
    task, rows, entries = evaluate(Told({"a": "wind"}), samples)
    assert entries["reasoning"] == {"n": 1}
    assert task.write_files(rows, "val", tmp_path) == {}
    (line,) = map(json.loads, (tmp_path / "val.reasoning.judge.jsonl").read_text().splitlines())
    assert line["id"] == "a#0"
    assert "thunder" in line["messages"][0]["content"]
    assert (tmp_path / "val.reasoning.judge_masked.jsonl").is_file()
    (tmp_path / "own.txt").write_text("Q {question} A {answer} {other}")
    own = {"reasoning": {"template": str(tmp_path / "own.txt")}}
    task, rows, _ = evaluate(Told({"a": "wind"}), samples, evaluation=own)
    task.write_files(rows, "val", tmp_path)
    (line,) = map(json.loads, (tmp_path / "val.reasoning.judge.jsonl").read_text().splitlines())
    assert line["messages"][0]["content"] == "Q reasoning? A wind {other}"
    (tmp_path / "own.txt").write_text("no place for it")
    with pytest.raises(ConfigError, match=r"\{answer\}"):
        InstructTask(evaluation=own)


def test_confusion_pictures_and_what_is_too_large_for_one(tmp_path):
    many = [f"label {i}" for i in range(100)]
    samples = batch(item("classification", "rain", candidates=LABELS))
    task, rows, _ = evaluate(Told(likes={"a": {"rain": 0}}), samples, masked_audio=False)
    assert task.write_files(rows, "val", tmp_path) == {}
    assert (tmp_path / "val.classification.confusion.png").stat().st_size > 1000
    rows = [{**rows[0], "reference": name, "answers": [name]} for name in many]
    missing = task.write_files(rows, "val", tmp_path)
    assert "100 labels" in missing["val.classification.confusion.png"]


def test_generation_settings_reach_the_model_and_null_ones_do_not():
    model = Told({"a": "x"})
    settings = {"num_beams": 3, "temperature": None}
    evaluate(model, batch(item("qa", "x")), generation=settings, max_new_tokens=7)
    assert model.generation == [{"max_new_tokens": 7, "num_beams": 3}] * 2


def test_sampling_repeats_for_the_same_rows_and_leaves_the_generator_alone():
    draws = []
    model = Told({"a": lambda question: draws.append(torch.rand(1).item()) or "x"})
    before = torch.get_rng_state()
    for _ in range(2):
        evaluate(model, batch(item("qa", "x")), generation={"do_sample": True}, masked_audio=False)
    evaluate(
        model, batch(item("qa", "x")), generation={"do_sample": True}, masked_audio=False, seed=1
    )
    assert draws[0] == draws[1] != draws[2]
    assert torch.equal(before, torch.get_rng_state())


def test_unknown_tasks_and_settings_are_named():
    with pytest.raises(ConfigError, match="'caption'"):
        evaluate(Told(), batch(item("captions", "x")))
    with pytest.raises(ConfigError, match="'caption'"):
        InstructTask(evaluation={"captions": {}})
