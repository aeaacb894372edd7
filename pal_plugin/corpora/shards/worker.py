"""`python -m pal_plugin.corpora.shards.worker` writes the shards that standard input tells it of.

One JSON line a job; it answers `{"done": n}` as clips are done, then `{"shard": NAME}` or
`{"error": TEXT}`. Its input ends when the process that started it does, even by SIGKILL, so no
worker outlives its conversion by more than a shard.
"""

from __future__ import annotations

import json
import sys
import traceback

from pal_plugin.corpora.shards.writing import write_shard


def main() -> int:
    """Serve until the input ends. Returns the exit code."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever libraries print goes elsewhere

    def answer(**message: object) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    for line in sys.stdin:
        job = json.loads(line)
        try:
            write_shard(job, lambda n: answer(done=n))
        except OSError as error:  # such as a full disk
            answer(error=f"{job['path']}: {error}")
            return 1
        except Exception:  # a bug: the process that waits for the answer must hear of it
            answer(error=f"{job['path']}: {traceback.format_exc()}")
            return 1
        answer(shard=job["path"])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(1)
