"""Ask a model's folder by the "any-to-any" pipeline of transformers 5.

python projects/pal/huggingface/ask.py MODEL "What do you hear?" CLIP...
"""

import sys

from transformers import pipeline

import pal_plugin.hosts.huggingface  # noqa: F401 - registers


def main(argv: list[str]) -> list[str]:
    source, question, *clips = argv
    pipe = pipeline("any-to-any", model=source)
    answers = []
    for clip in clips:  # batch_size would put their clips together; see docs/huggingface.md
        content = [{"type": "audio", "audio": clip}, {"type": "text", "text": question}]
        (found,) = pipe(text=[{"role": "user", "content": content}], return_full_text=False)
        answers.append(found["generated_text"].strip())
    return answers


if __name__ == "__main__":
    print(*main(sys.argv[1:]), sep="\n")
