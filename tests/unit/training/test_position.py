"""A position counts optimizer steps, each of one batch or of several."""

from hypothesis import given
from hypothesis import strategies as st

from tunebook.training.position import Position


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 5))
def test_the_step_is_what_a_loop_counts(batches: int, accumulated: int, epochs: int) -> None:
    steps = 0
    for epoch in range(epochs + 1):
        for batch in range(1, batches + 1):
            is_step = batch % accumulated == 0 or batch == batches
            position = Position(epoch, batch, batches, accumulated)
            steps += is_step
            assert position.is_between_steps == is_step
            if is_step:
                assert position.step == steps
            assert Position.of({"tunebook": {"position": position.plain()}}) == position


def test_what_a_checkpoint_holds_without_accumulation_is_as_before() -> None:
    assert Position(1, 2, 3).plain() == {"epoch": 1, "batch": 2, "batches": 3}
