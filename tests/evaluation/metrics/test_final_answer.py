r"""Thoughts, and parts that are marked as the answer."""

import pytest

from pal_plugin.evaluation.metrics.final_answer import final_answers


@pytest.mark.parametrize(
    "said",
    [
        "<think>A?</think> B",
        "<think>\nA? <answer>A</answer>\n</think>\n\nB",
        "maybe A</think>B",  # the prompt has the beginning
        "<think>A <think>C</think> D</think>B",
        "<Thinking>A</Thinking>B",
        "<seed:think>A</seed:think>B",
        "[THINK]A[/THINK]B",
        "\u25c1think\u25b7A\u25c1/think\u25b7B",
        "<|begin_of_thought|>A<|end_of_thought|>B",
        "B<think>or A",
        "<answer>B</answer> and not A",
        "A? <answer> B",
        "<think>A? <answer>B</answer>",
        "<final_answer>B</final_answer>",
        r"So A is wrong: $\boxed{B}$",
        r"\boxed{\text{B}}",
        r"\fbox{A} \boxed{\mathbf{\text{B}}}",
        "\x08oxed{B}",
        r"<answer>It is \boxed{B}, not A</answer>",
        "<answer></answer>B",
        "<think>A</think></think>B",
        "<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>final<|message|>B",
        "analysisIs it A?assistantfinalB",
        "<|channel>thought\nA<channel|>B",
        "<|START_THINKING|>A<|END_THINKING|>B",
        "<response>B</response>",
        r"\boxed B",
    ],
)
def test_what_is_meant_as_the_answer(said):
    assert [part.strip() for part in final_answers(said)] == ["B"]


@pytest.mark.parametrize(
    "said", ["", " ", "<think>A", "<think>A</think>", "<think>A</think>\n", "analysisA"]
)
def test_a_thought_alone_is_no_answer(said):
    assert final_answers(said) == []


def test_several_answers_are_all_told_and_a_plain_one_is_the_text():
    assert final_answers("<answer>A</answer><answer>B</answer>") == ["A", "B"]
    assert final_answers(r"\boxed{A} \boxed{(B) {x}}") == ["A", "(B) {x}"]
    assert final_answers("I think [B] is a<b>") == ["I think [B] is a<b>"]
