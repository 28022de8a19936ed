"""A batch evaluation on Ray: many conversations over few sockets, with progress, and resumed where it ended.

    pip install . "ray[data]"
    python examples/ray_evals.py questions.jsonl answers.jsonl

Each line of the questions has an `id`, the `turns` of the user, and the text that is `expected` in the last
answer. Each line of the answers has the `id`, the last `answer` and whether it is `correct`, or the `error`.
A second run takes the rows that have no answer: new ones, failed ones, and those that an earlier run did not
reach.

Run it with OPENAI_API_KEY set, or without a key: `trunkline emulate python examples/ray_evals.py`. On
a cluster, set RAY_ADDRESS and ACTORS. Each actor is a process with a client of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import ray

import trunkline

MODEL = os.environ.get("MODEL", "gpt-6-astra")
ACTORS = int(os.environ.get("ACTORS", "2"))
LANES = True if os.environ.get("LANES") else None  # for a server whose lanes the client does not know of
ROWS_OF_A_BATCH = 16
ROWS_OF_A_BLOCK = 64  # conversations of an actor at a time: with lanes, 4 sockets


class Examiner:
    """An actor. It holds a client, and takes several batches of a block at a time."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._client: trunkline.Client | None = None

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Answer the rows of a batch together."""
        if self._client is None:  # here is the event loop that it belongs to
            self._client = trunkline.Client(lanes=LANES)
        rows = [json.loads(row) for row in batch["row"]]
        answers = await asyncio.gather(*(self._answer(self._client, row) for row in rows))
        yield {"row": [json.dumps(answer) for answer in answers]}

    async def _answer(self, client: trunkline.Client, row: dict[str, Any]) -> dict[str, Any]:
        chat = client.conversation(model=self._model)
        answer = ""
        try:
            for turn in row["turns"]:
                answer = (await chat.run(turn)).output_text
        except trunkline.TrunklineError as error:
            facts = {"type": type(error).__name__, "message": str(error)}
            return {"id": row["id"], "error": facts}
        return {"id": row["id"], "answer": answer, "correct": row["expected"] in answer}


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a file; the last one may have been cut with the run that wrote it."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def remaining(questions: Iterable[dict[str, Any]], answers: Path) -> list[dict[str, Any]]:
    """The questions without an answer. The file keeps the answers alone: failed rows are tried again."""
    kept = [line for line in lines_of(answers) if "error" not in line]
    rewritten = answers.with_suffix(".new")
    rewritten.write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    rewritten.replace(answers)
    answered = {line["id"] for line in kept}
    return [question for question in questions if question["id"] not in answered]


def evaluate(questions: list[dict[str, Any]], answers: Path) -> None:
    """Answer the questions, and write each answer as it comes."""
    rows = [{"row": json.dumps(question)} for question in questions]
    blocks = -(-len(rows) // ROWS_OF_A_BLOCK)
    results = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        Examiner,
        fn_constructor_args=(MODEL,),
        batch_size=ROWS_OF_A_BATCH,
        compute=ray.data.ActorPoolStrategy(size=ACTORS),
        num_cpus=0.25,  # it waits for the service
    )
    done = failed = 0
    begun = time.monotonic()
    with answers.open("a") as file:
        for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
            for row in batch["row"]:
                file.write(f"{row}\n")
                failed += "error" in json.loads(row)
            file.flush()
            done += len(batch["row"])
            rate = done / (time.monotonic() - begun)
            print(f"{done} of {len(questions)} rows, {failed} failed, {rate:.0f} rows/s", flush=True)


def main(questions: Path, answers: Path) -> None:
    """Answer what has no answer, then print the result of all."""
    rows = remaining(lines_of(questions), answers)
    print(f"{len(rows)} rows have no answer", flush=True)
    if rows:
        ray.init(log_to_driver=False, include_dashboard=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        evaluate(rows, answers)
        ray.shutdown()
    lines = lines_of(answers)
    correct = sum(line.get("correct", False) for line in lines)
    failed = sum("error" in line for line in lines)
    print(f"{correct} of {len(lines)} correct, {failed} failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
