"""Tables of text: aligned, and in Markdown."""

from pal_plugin.utils.tables import markdown_table, text_table

ROWS = [("name", "n", "share"), ("a|b", 12, ""), ("long name", 3, "50 %")]


def test_columns_are_aligned_under_a_head():
    assert text_table(ROWS, "lr") == (
        "name        n  share\n--------------------\na|b        12\nlong name   3   50 %"
    )
    assert text_table(ROWS[1:], "ll", rule=False) == "a|b        12\nlong name  3   50 %"


def test_markdown_keeps_a_bar_within_its_cell():
    assert markdown_table(ROWS[:2], "lr") == (
        "| name | n | share |\n| --- | ---: | ---: |\n| a\\|b | 12 |  |"
    )
