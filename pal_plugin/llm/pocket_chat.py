"""The chat format of the pocket LLM: as functions for pretraining, and as a chat template."""

from __future__ import annotations

QUESTION = "<|user|>"
ANSWER = "<|assistant|>"
END = "<|end|>"
PAD = "<|pad|>"
SPECIAL_TOKENS = [PAD, END, QUESTION, ANSWER]

#: Equivalent to `prompt` and `target`, as a chat template.
TEMPLATE = (
    "{% for message in messages %}"
    f"{{% if message.role == 'user' %}}{QUESTION}{{{{ message.content | trim }}}}"
    f"{{% elif message.role == 'assistant' %}}{ANSWER}{{{{ message.content | trim }}}}{END}"
    "{% else %}{{ raise_exception('the pocket LLM knows no ' + message.role + ' messages') }}"
    "{% endif %}{% endfor %}"
    f"{{% if add_generation_prompt %}}{ANSWER}{{% endif %}}"
)


def prompt(question: str) -> str:
    """The prompt of a question."""
    return f"{QUESTION}{question.strip()}{ANSWER}"


def target(answer: str) -> str:
    """The training target after `prompt`: the answer and its end token."""
    return f"{answer.strip()}{END}"
