"""The table at the end of a run."""

from pal_plugin.training import report


def test_the_table_shows_each_figure_beside_masked_audio_and_chance():
    text = report.table(
        {
            "val": {
                "classification": {
                    "accuracy": 0.8123,
                    "accuracy_masked_audio": 0.1,
                    "chance": 0.09,
                    "n": 300,
                },
                "classification/said": {
                    "accuracy": 0.9,
                    "accuracy_masked_audio": 0.1,
                    "chance": 0.1,
                    "n": 30,
                    "accuracy_said": 0.7,
                    "accuracy_said_masked_audio": 0.0,
                },
                "multiple_choice": {"accuracy": 0.5, "accuracy_ranked": 0.6, "n": 9},
                "tagging": {"map": 0.4, "micro_f1_said": 0.2, "chance": 0.1, "n": 8},
                "transcript": {"wer": 0.5, "wer_masked_audio": None, "n": 7},
            }
        }
    )
    header, _, first, *both, chosen, ranked, tags, said, second = text.splitlines()
    assert " ".join(tags.split()[1:]) == "tagging mAP, ranked 0.400 - 0.100 8"
    assert " ".join(said.split()[1:]) == "tagging micro F1, said 0.200 - - 8"
    assert header.split() == ["split", "task", "figure", "value", "masked", "audio", "chance", "n"]
    assert first.split() == ["val", "classification", "accuracy", "0.812", "0.100", "0.090", "300"]
    assert [" ".join(line.split()[1:]) for line in both] == [
        "classification/said accuracy, ranked 0.900 0.100 0.100 30",
        "classification/said accuracy, said 0.700 0.000 0.100 30",
    ]
    assert " ".join(chosen.split()[1:5]) == "multiple_choice accuracy, said 0.500"
    assert " ".join(ranked.split()[1:5]) == "multiple_choice accuracy, ranked 0.600"
    assert second.split() == ["val", "transcript", "wer", "0.500", "-", "-", "7"]
