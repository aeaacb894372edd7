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
                "transcript": {"wer": 0.5, "wer_masked_audio": None, "n": 7},
            }
        }
    )
    header, _, first, second = text.splitlines()
    assert header.split() == ["split", "task", "figure", "value", "masked", "audio", "chance", "n"]
    assert first.split() == ["val", "classification", "accuracy", "0.812", "0.100", "0.090", "300"]
    assert second.split() == ["val", "transcript", "wer", "0.500", "-", "-", "7"]
