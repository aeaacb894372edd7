"""Messages as ids: what a chat template writes, clips among it, and what is learned."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pal_plugin.llm import pocket_chat
from pal_plugin.llm.conversation import read_messages
from pal_plugin.llm.loading import load_llm
from pal_plugin.llm.prompts import TextFormat
from pal_plugin.utils.locations import POCKET

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe helpful.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ONE_TURN = (
    "{% if messages | length > 2 %}{{ raise_exception('one turn only') }}{% endif %}" + CHATML
)
OTHERWISE = CHATML.replace("{{ m['content'] }}", "{{ loop.index }}: {{ m['content'] }}")
PLAIN = "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def pocket():
    return load_llm(POCKET / "llm")[1]


def chatml(template=CHATML, prompt="chat", **more):
    """Bytes as tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = template
    return TextFormat(tokenizer, prompt, **more)


def user(*parts):
    return {"role": "user", "content": [_part(p) for p in parts]}


def _part(part):
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "audio", "audio": part}


def says(text):
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}
CHAT = [user("What is it?"), says("a bell"), user("And is it loud?"), says("no"), user("Sure?")]


@pytest.mark.parametrize("messages", [CHAT, [SYSTEM, *CHAT], CHAT[:1], CHAT[:3]])
def test_turns_are_what_the_template_writes(messages):
    text = chatml()
    flat = [
        m if isinstance(m["content"], str) else {**m, "content": m["content"][0]["text"]}
        for m in messages
    ]
    stock = text.tokenizer.apply_chat_template(flat, add_generation_prompt=True, tokenize=False)
    ids = text.tokenizer(stock, add_special_tokens=False)["input_ids"]
    read = read_messages(text, messages)
    assert read.ids == ids
    assert read_messages(text, flat).ids == ids
    assert not read.clips


def test_answers_are_learned_with_their_end_marks():
    text = chatml()
    read = read_messages(text, CHAT[:4])
    learned = [i for i, use in zip(read.ids, read.learned, strict=True) if use]
    assert learned == text.answer_ids("a bell") + text.answer_ids("no")
    assert read.ids[-len(text.answer_ids("no")) :] == text.answer_ids("no")


def test_one_question_is_the_prompt_of_old_and_an_opening_clip_stands_in_front(pocket):
    clip = object()
    for text in (pocket, chatml(), chatml(prompt=PLAIN)):
        for messages in ([user(clip, "What?")], [user("What?")]):
            read = read_messages(text, messages)
            assert read.ids == text.prompt_ids("What?")
            assert read.places == [0] * len(read.clips)
    assert read_messages(pocket, [user(clip, "What?")]).clips == [clip]


def test_clips_stand_behind_the_tokens_that_precede_them():
    first, second, third = (object() for _ in range(3))
    text = chatml()
    messages = [user(first, "Hear", second, "this?"), says("yes"), user(third)]
    decode = text.tokenizer.decode
    read = read_messages(text, messages)
    assert read.clips == [first, second, third]
    assert read.places[0] == 0
    assert decode(read.ids[: read.places[1]]).endswith("<|im_start|>user\nHear")
    assert decode(read.ids[read.places[1] :]).startswith("this?<|im_end|>")
    assert decode(read.ids[: read.places[2]]).endswith("<|im_end|>\n<|im_start|>user\n")
    inline = read_messages(text, messages, "inline")
    assert inline.ids == read.ids
    assert decode(inline.ids[: inline.places[0]]).endswith("<|im_start|>user\n")
    assert inline.places[1:] == read.places[1:]


def test_few_shot_prompts_and_no_text_at_all(pocket):
    shots = [user("a"), says("dog"), user("b"), says("cat"), user("c")]
    for message, clip in zip(shots[::2], "abc", strict=True):
        message["content"] = [{"type": "audio", "audio": f"{clip}.wav"}]
    read = read_messages(pocket, shots)
    assert read.clips == ["a.wav", "b.wav", "c.wav"]
    ids = pocket.tokenizer.convert_tokens_to_ids
    marks = [ids(m) for m in (pocket_chat.QUESTION, pocket_chat.ANSWER, pocket_chat.END)]
    assert [i for i in read.ids if i in marks] == [*marks, *marks, *marks[:2]]
    for place in read.places[1:]:
        assert read.ids[place - 1] == marks[0]


def test_a_plain_form_that_is_the_templates_goes_on_as_that_does():
    text = chatml(prompt=PLAIN)
    whole = chatml()
    ids = read_messages(whole, CHAT).ids
    short = read_messages(text, CHAT).ids
    assert short == ids[-len(short) :]
    other = chatml(prompt="Q: {question} A: ")
    read = read_messages(other, CHAT[:3])
    assert other.tokenizer.decode(read.ids) == (
        "Q: What is it? A: a bell<|im_end|>Q: And is it loud? A: "
    )


def test_what_spells_a_control_token_is_text_here_too():
    text = chatml()
    mark = text.tokenizer.convert_tokens_to_ids("<|im_end|>")
    said = user("a.<|im_end|>", object(), "<|im_end|> b"), says("<|im_end|>"), user("<|im_end|>")
    marks = read_messages(text, [user("a", object(), "b"), says("c"), user("d")]).ids.count(mark)
    assert read_messages(text, said).ids.count(mark) == marks


@pytest.mark.parametrize("template", [ONE_TURN, OTHERWISE])
def test_a_template_without_a_second_turn_of_the_kind_is_refused(template):
    text = chatml(template)
    assert read_messages(text, CHAT[:1]).ids
    with pytest.raises(ValueError, match="writes later turns differently"):
        read_messages(text, CHAT)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("What?", "expected messages as a list"),
        ([], "expected messages as a list"),
        ([{"role": "user"}], r"messages\[0\] is .*expected a dict with role and content"),
        ([says("yes")], r"messages\[0\] has the role 'assistant'; expected 'user'"),
        ([user("a"), user("b")], r"messages\[1\] has the role 'user'; expected 'assistant'"),
        ([user("a"), SYSTEM], r"messages\[1\] has the role 'system'"),
        ([SYSTEM], "expected a user message"),
        ([user(" ")], r"messages\[0\] is empty"),
        ([{"role": "user", "content": 3}], r"content is 3; expected a text or a list of parts"),
        (
            [{"role": "user", "content": [{"type": "image", "image": 1}]}],
            r"messages\[0\].content\[0\] is .*'image'.*expected .*'type': 'audio'",
        ),
        (
            [user("a"), {"role": "assistant", "content": [_part(1)]}],
            r"messages\[1\] has audio; only user messages may",
        ),
    ],
)
def test_errors(pocket, messages, message):
    with pytest.raises(ValueError, match=message):
        read_messages(pocket, messages)


def test_more_errors(pocket):
    with pytest.raises(ValueError, match="audio_place is 'end'; expected front or inline"):
        read_messages(pocket, CHAT, "end")
    with pytest.raises(ValueError, match="without system messages"):
        read_messages(chatml(prompt=PLAIN), [SYSTEM, *CHAT])
    twice = chatml(prompt="{question} Again: {question} A:")
    with pytest.raises(ValueError, match="repeats the question 2 times"):
        read_messages(twice, [user("a", object(), "b")])
