"""Faults of a step name the samples that were in it, and what to do."""

import pytest
import torch

from pal_plugin.training.faults import OutOfMemoryBatchError, memory_errors_named, non_finite

BATCH = {
    "audio": {"sslam": {"windows": torch.tensor([1, 4])}},
    "text_input": ["?", "?", "?"],
    "question_id": ["a#0", "a#1", "b#0"],
    "num_clips": 2,
}


def test_a_loss_that_is_not_finite_names_the_first_samples():
    error = non_finite("the loss is nan", "step 3", [f"clip {n}" for n in range(30)], "bad.jsonl")
    assert "the loss is nan in step 3" in str(error)
    assert "clip 19" in str(error)
    assert "clip 20" not in str(error)
    assert "(full list in bad.jsonl)" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory.\nmore lines"),
        MemoryError("no room"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_batch_that_does_not_fit_is_told_with_its_size(error):
    says = (
        r"out of memory in step 3: a batch of 2 clips with windows \{'sslam': 5\} and 3 questions"
    )
    with (
        pytest.raises(OutOfMemoryBatchError, match=says) as told,
        memory_errors_named(BATCH, "step 3"),
    ):
        raise error
    assert "a#0, a#1, b#0" in str(told.value)
    assert "more lines" not in str(told.value)


def test_other_errors_stay_what_they_are():
    with (
        pytest.raises(RuntimeError, match="sizes of tensors") as kept,
        memory_errors_named(BATCH, "x"),
    ):
        raise RuntimeError("sizes of tensors must match")
    assert not isinstance(kept.value, OutOfMemoryBatchError)
