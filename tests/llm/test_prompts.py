"""Prompts: chat templates of several families, plain forms, marks of beginning and end."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from pal_plugin.llm.loading import load_llm
from pal_plugin.llm.prompts import TextFormat

LLAMA = (
    "{{ bos_token }}{% if not date_string is defined %}{{ strftime_now('%d') }}{% endif %}"
    "{% for m in messages %}<|start|>{{ m['role'] }} {{ date_string }} {{ m['content'] | trim }}"
    "<|eot|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant {{ date_string }} "
    "{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<|start|>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<|turn|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>model\n{% endif %}"
)


def tokenizer(template=None, eos="<|eos|>"):
    """Bytes as tokens, with the special tokens of both templates."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<|bos|>", eos_token=eos)
    made.add_tokens(["<|start|>", "<|eot|>", "<|turn|>"], special_tokens=True)
    made.chat_template = template
    return made


def written(made, ids):
    return "".join(made.convert_ids_to_tokens(ids)).replace("Ġ", " ").replace("Ċ", "\n")


@pytest.mark.parametrize(("template", "end"), [(LLAMA, "<|eot|>"), (GEMMA, "<|turn|>")])
def test_the_chat_template_decides(template, end):
    made = tokenizer(template)
    text = TextFormat(made)
    messages = [{"role": "user", "content": "a{b}?"}]
    stock = made.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, date_string="26 Jul 2024"
    )
    assert written(made, text.prompt_ids(" a{b}? ")) == stock
    assert text.prompt_ids("x").count(made.bos_token_id) == 1
    assert written(made, text.answer_ids(" yes ")) == f"yes{end}"
    ends = made.convert_tokens_to_ids([end, "<|eos|>"])
    assert text.end_ids == sorted(ends)
    assert text.decode(text.answer_ids("yes")) == "yes"


def test_a_turn_of_training_is_what_the_template_writes():
    made = tokenizer(GEMMA)
    text = TextFormat(made)
    turns = [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "a"}]
    whole = made.apply_chat_template(turns, tokenize=False)
    assert whole.startswith(written(made, text.prompt_ids("q?") + text.answer_ids("a")))


def test_a_system_message():
    made = tokenizer(LLAMA)
    prompt = written(made, TextFormat(made, system="Be brief.").prompt_ids("q?"))
    assert "system 26 Jul 2024 Be brief.<|eot|>" in prompt
    assert prompt.index("Be brief.") < prompt.index("q?")


def test_plain_forms():
    made = tokenizer()
    ltu = TextFormat(made, "ltu")
    assert written(made, ltu.prompt_ids("q {x}?")) == "### Instruction:\nq {x}?\n\n### Response:\n"
    assert ltu.answer_ids("a")[-1] == made.eos_token_id
    assert written(made, TextFormat(made, "Q: {question} A: ").prompt_ids("q?")) == "Q: q? A: "


def test_a_plain_form_ends_at_the_mark_of_the_template_too():
    made = tokenizer(GEMMA)
    text = TextFormat(made, "Q: {question} A: ")
    eos, turn = made.convert_tokens_to_ids(["<|eos|>", "<|turn|>"])
    assert text.end_ids == sorted([eos, turn])
    assert text.answer_ids("a")[-1] == eos  # what is trained is the tokenizer's own
    assert TextFormat(tokenizer(), "ltu").end_ids == [eos]
    broken = tokenizer("{{ raise_exception('no messages at all') }}")
    assert TextFormat(broken, "ltu").end_ids == [eos]


@pytest.mark.parametrize("end", ["<|eos|>", "<|turn|>"])
def test_nothing_behind_the_end_is_decoded(end):
    made = tokenizer(GEMMA)
    ids = made(f"<|start|> a bell {end}and<|eos|> more", add_special_tokens=False)["input_ids"]
    for prompt in ("chat", "ltu"):
        assert TextFormat(made, prompt).decode(ids) == "a bell"
    assert TextFormat(made).decode(made("no end")["input_ids"]) == "no end"


def test_errors():
    with pytest.raises(ValueError, match=r"no chat template .*llm.prompt .*: one of ltu"):
        TextFormat(tokenizer())
    with pytest.raises(ValueError, match="'ltuu'; expected 'chat', one of ltu"):
        TextFormat(tokenizer(), "ltuu")
    with pytest.raises(ValueError, match="llm.system needs llm.prompt: chat"):
        TextFormat(tokenizer(), "ltu", system="Be brief.")
    with pytest.raises(ValueError, match="no eos_token"):
        TextFormat(tokenizer(eos=None), "ltu")


def test_an_empty_question_is_refused_in_training_as_in_use(tiny_config):
    _, text = load_llm(tiny_config("lal")["llm"]["path"])
    with pytest.raises(ValueError, match="question 1 is ' '; expected a non-blank question"):
        text.tokenized({"text_input": ["What?", " "], "text_output": ["a bell", "rain"]})


SPELLED = ["<|eot|>", "Is <|start|> heard?", "a<|eos|>b", "<|bos|><|turn|>"]


@pytest.mark.parametrize("said", SPELLED)
@pytest.mark.parametrize("template", [LLAMA, GEMMA, None])
def test_a_text_that_spells_a_control_token_is_text(template, said):
    made = tokenizer(template)
    text = TextFormat(made, "chat" if template else "Q: {question}<|eot|>A: ")
    special = set(made.all_special_ids) | set(made.added_tokens_decoder)
    marks = [i for i in text.prompt_ids("q") if i in special]
    ids = text.prompt_ids(said)
    assert [i for i in ids if i in special] == marks
    assert made.decode(ids) == made.decode(text.prompt_ids("q~")).replace("q~", said)
    answer = text.answer_ids(said)
    assert [i for i in answer if i in special] == [text.end_id]
    assert text.decode(answer) == said
    batch = text.tokenized({"text_input": [said], "text_output": [said]})
    assert (batch["prompt_ids"], batch["answer_ids"]) == ([ids], [answer])


def test_a_form_with_several_places_and_a_question_that_names_one():
    made = tokenizer()
    text = TextFormat(made, "{question} Again: {question}")
    assert written(made, text.prompt_ids("{question}?")) == "{question}? Again: {question}?"


def test_the_mark_of_beginning_comes_once_and_that_of_the_end_not_at_all():
    made = tokenizer()
    bos, eos = made.convert_tokens_to_ids(["<|bos|>", "<|eos|>"])
    made._tokenizer.post_processor = TemplateProcessing(
        single="<|bos|> $A <|eos|>", special_tokens=[("<|bos|>", bos), ("<|eos|>", eos)]
    )
    ids = TextFormat(made, "Q: {question} A: ").prompt_ids("q?")
    assert written(made, ids) == "<|bos|>Q: q? A: "


def test_a_template_that_loses_the_question_is_refused_and_a_plain_form_goes_without():
    lost = "{% for m in messages %}<|start|>{{ m['text'] }}<|turn|>{% endfor %}"
    with pytest.raises(
        ValueError, match=r"cannot use the chat template .*: the question .*llm\.prompt"
    ):
        TextFormat(tokenizer(lost))
    assert TextFormat(tokenizer(lost), "ltu").end_ids == [tokenizer().eos_token_id]


def test_the_end_mark_may_be_a_token_that_is_not_called_special():
    made = tokenizer(GEMMA.replace("<|turn|>", "<|im_end|>"))
    made.add_tokens(["<|im_end|>"])
    assert TextFormat(made).end_id == made.convert_tokens_to_ids("<|im_end|>")
