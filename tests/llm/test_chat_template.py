"""Chat templates on trial: forms of known families, and those that lose or change what they get."""

import datetime

import pytest
from transformers import AutoTokenizer

from pal_plugin.llm.chat_template import read_chat_form
from pal_plugin.utils.locations import POCKET

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
    "{{ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
GEMMA_PROMPT = "<start_of_turn>user\nQUESTION<end_of_turn>\n<start_of_turn>model\n"
GEMMA3 = (
    "{% for m in messages %}{{ '<start_of_turn>' + m['role'] + '\n' }}"
    "{% if m['content'] is string %}{{ m['content'] | trim }}"
    "{% elif m['content'] is iterable %}{% for item in m['content'] %}"
    "{% if item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}"
    "{% else %}{{ raise_exception('Invalid content type') }}{% endif %}{{ '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA = (
    "{{ '<|begin|>' }}{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{% endif %}"
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{{ '<|head|>system<|/head|>\n\nToday Date: ' + date_string + '\n\n' + system + '<|eot|>' }}"
    "{% if tools is not none %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{{ '<|head|>' + m['role'] + '<|/head|>\n\n' + m['content'] | trim }}"
    "{{ '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
)
QWEN3 = (
    "{% for m in messages %}{% if m.role == 'user' and m.content.startswith('<tool_response>') %}"
    "{{ '<|im_start|>tool' }}{% elif m.role == 'assistant' %}"
    "{% set content = m.content.split('</think>')[-1].lstrip('\n') %}"
    "{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' + content + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
SMOLLM3 = (
    "{% if messages[0].role == 'system' %}"
    "{% set custom = messages[0].content.replace('/no_think', '').replace('/think', '').rstrip() %}"
    "{% endif %}{{ '<|im_start|>system\nToday Date: ' }}{% set today = strftime_now('%d %B %Y') %}"
    "{{ today ~ '\n' ~ (custom or '') ~ '<|im_end|>\n' }}{% for m in messages %}"
    "{% if m.role == 'user' %}{{ '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}"
    "{% elif m.role == 'assistant' %}{% generation %}"
    "{{ '<|im_start|>assistant\n<think>\n\n</think>\n' + m.content.lstrip('\n') + '<|im_end|>\n' }}"
    "{% endgeneration %}{% endif %}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' + ('' if enable_thinking else '<think>\n\n</think>\n') }}"
    "{% endif %}"
)
PARTS = (
    "{% for m in messages %}<|user|>{% for c in m.content %}{{ c.text }}{% endfor %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
THINKS = (  # as DeepSeek-R1's, whose answers are written without a thought
    "{% for m in messages %}{% if m.role == 'user' %}<|User|>{{ m.content }}{% else %}"
    "<|Assistant|>{{ m.content.split('</think>')[-1] }}<|eos|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
HARMONY = (
    "<|start|>system<|message|>{{ strftime_now('%F') }}<|end|>{% for m in messages %}"
    "{% if m.role == 'user' %}<|start|>user<|message|>{{ m.content }}<|end|>{% else %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|return|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
MIXED = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'user' %}"
    "{% for c in m.content %}{{ c.text }}{% endfor %}{% else %}{{ m.content | trim }}{% endif %}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ONE = "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}"
TAIL = "{% if add_generation_prompt %}<|assistant|>{% endif %}"


def tokenizer(template):
    made = AutoTokenizer.from_pretrained(POCKET / "llm")
    made.chat_template = template
    return made


def form(template, system=None):
    read = read_chat_form(tokenizer(template), system)
    return "QUESTION".join(read.pieces), read.behind


@pytest.mark.parametrize(
    ("template", "prompt", "behind"),
    [
        (GEMMA, GEMMA_PROMPT, "<end_of_turn>\n"),
        (GEMMA3, GEMMA_PROMPT, "<end_of_turn>\n"),
        (
            LLAMA,
            "<|begin|><|head|>system<|/head|>\n\nToday Date: 26 Jul 2024\n\n<|eot|>"
            "<|head|>user<|/head|>\n\nQUESTION<|eot|><|head|>assistant<|/head|>\n\n",
            "<|eot|>",
        ),
        (MISTRAL, "[INST] QUESTION [/INST]", "</s>"),
        (
            QWEN3,
            "<|im_start|>user\nQUESTION<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
            "<|im_end|>\n",
        ),
        (
            SMOLLM3,
            "<|im_start|>system\nToday Date: 26 July 2024\n<|im_end|>\n"
            "<|im_start|>user\nQUESTION<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n",
            "<|im_end|>\n",
        ),
        (PARTS, "<|user|>QUESTION<|end|><|assistant|>", "<|end|>"),
        (THINKS, "<|User|>QUESTION<|Assistant|>", "<|eos|>"),
        (
            HARMONY,
            "<|start|>system<|message|>2024-07-26<|end|><|start|>user<|message|>QUESTION<|end|>"
            "<|start|>assistant<|channel|>final<|message|>",
            "<|return|>",
        ),
        (MIXED, "<|user|>QUESTION<|end|><|assistant|>", "<|end|>"),
        (ONE + TAIL, "<|user|>QUESTION<|end|><|assistant|>", "<|end|>"),
    ],
    ids=[
        *("gemma", "gemma3", "llama", "mistral", "qwen3", "smollm3", "parts"),
        *("thinks", "harmony", "mixed", "plain"),
    ],
)
def test_what_a_family_writes_around_a_question(template, prompt, behind):
    assert form(template) == (prompt, behind)


def test_a_template_without_a_generation_prompt_gives_the_mark_of_the_answer_all_the_same():
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    assert form(template) == ("<|user|>QUESTION<|end|><|assistant|>", "<|end|>")


def test_of_several_templates_the_default_is_taken():
    made = tokenizer({"default": ONE + TAIL, "tool_use": "{{ tools[0] }}"})
    assert read_chat_form(made).behind == "<|end|>"
    with pytest.raises(ValueError, match="cannot use the chat template"):
        read_chat_form(tokenizer({"rag": ONE, "tool_use": ONE}))


@pytest.mark.parametrize(
    ("template", "told"),
    [
        (ONE.replace("m.content", "m.content | upper") + TAIL, "the question .* is written as"),
        (ONE.replace("m.content", "m.content | tojson") + TAIL, "the question .* is written as"),
        (ONE.replace("m.content", "m.content | e") + TAIL, "the question .* is written as"),
        (ONE.replace("m.content", "m.content[:9]") + TAIL, "the question .* is written as"),
        (ONE.replace("m.content", "m.text") + TAIL, "the question .* is written as"),
        ("{% if messages[0].role == 'user' %}" + ONE, "unexpected end of template|Unexpected end"),
        ("{{ raise_exception('tools are needed') }}", "tools are needed"),
        ("{% for t in tools %}{% endfor %}" + ONE, "not iterable"),
        (
            "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
            "the answer .* is written as",
        ),
        (
            "{% for m in messages %}{{ m.content if m.role == 'user' else m.content | lower }}"
            "<|end|>{% endfor %}",
            "the answer .* is written as",
        ),
    ],
)
def test_a_template_that_loses_or_changes_its_texts_is_refused_by_name(template, told):
    with pytest.raises(ValueError, match=rf"(?s)cannot use the chat template of .*llm: .*({told})"):
        read_chat_form(tokenizer(template))


def test_a_system_message_comes_out_or_is_refused():
    assert "26 Jul 2024\n\nBe brief.<|eot|>" in form(LLAMA, "Be brief.")[0]
    assert "July 2024\nBe brief.<|im_end|>" in form(SMOLLM3, "Be brief. /no_think")[0]
    with pytest.raises(ValueError, match="System role not supported.*remove llm.system"):
        form(GEMMA, "Be brief.")
    ignored = "{% for m in messages if m.role != 'system' %}" + ONE.partition("%}")[2] + TAIL
    assert form(ignored)[0] == "<|user|>QUESTION<|end|><|assistant|>"
    with pytest.raises(ValueError, match="the system message .* is written as"):
        form(ignored, "Be brief.")


@pytest.mark.parametrize("front", ["", "  ", "\n", "  A chat.\n"])
def test_what_a_template_begins_with_stays(front):
    made = tokenizer(front + ONE + TAIL)
    asked = [{"role": "user", "content": "QUESTION"}]
    stock = made.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert form(front + ONE + TAIL)[0] == stock


@pytest.mark.parametrize(
    "directive",
    ["%Y-%m-%d", "%d %B %Y", "%-d %b %y", "%A, %H:%M", "%j", "%F %T", "%x", "%-I %p", "week %V"],
)
def test_the_date_is_the_same_on_every_day(directive):
    prompt, _ = form("{{ strftime_now('" + directive + "') }}|" + ONE + TAIL)
    expected = datetime.datetime(2024, 7, 26).strftime(directive)
    assert prompt.partition("|")[0] == expected
    named = "{{ strftime_now(format='%Y') }}|"
    assert form(named + ONE + TAIL)[0].startswith("2024|")
    inner = "{% macro head() %}{{ strftime_now('%Y') }}|{% endmacro %}{{ head() }}"
    assert form(inner + ONE + TAIL)[0].startswith("2024|")
