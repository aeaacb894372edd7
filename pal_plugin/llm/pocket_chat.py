"""The chat form of the pocket LLM: what it was pretrained on, and as its tokenizer's template."""

from __future__ import annotations

QUESTION = "<|user|>"
ANSWER = "<|assistant|>"
END = "<|end|>"
PAD = "<|pad|>"
SPECIAL_TOKENS = [PAD, END, QUESTION, ANSWER]

#: The same as `prompt` and `target`, in the language of chat templates.
TEMPLATE = (
    "{% for message in messages %}"
    f"{{% if message.role == 'user' %}}{QUESTION}{{{{ message.content | trim }}}}"
    f"{{% elif message.role == 'assistant' %}}{ANSWER}{{{{ message.content | trim }}}}{END}"
    "{% else %}{{ raise_exception('the pocket LLM knows no ' + message.role + ' messages') }}"
    "{% endif %}{% endfor %}"
    f"{{% if add_generation_prompt %}}{ANSWER}{{% endif %}}"
)


def prompt(question: str) -> str:
    """What the model reads before it answers."""
    return f"{QUESTION}{question.strip()}{ANSWER}"


def target(answer: str) -> str:
    """What the model is trained to write after `prompt`."""
    return f"{answer.strip()}{END}"
