"""Record the position in a run at which a checkpoint was taken.

Lightning saves the counters of its loops as they are in the hook that saves. After some hooks, a
resumed run skips a validation, a scheduler step or the shuffling of an epoch. This module writes
the counters from the position alone, in the two forms from which Lightning 2.6 resumes without
skipping anything: in the middle of an epoch, and in the middle of its validation, which is then
repeated.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Position:
    """Hold a position in a run: `batch` of the `batches` training batches of the epoch are done.

    Epochs are counted from 0. When all batches are done, the epoch's validation comes next.
    accumulated: batches whose gradients make up one optimizer step; the last step of an epoch may
    have fewer. A position is never within a step.
    """

    epoch: int
    batch: int
    batches: int
    accumulated: int = 1

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """Return the position that is stored in a checkpoint."""
        found = content["tunebook"]["position"]
        accumulated = int(found.get("accumulated", 1))
        return cls(int(found["epoch"]), int(found["batch"]), int(found["batches"]), accumulated)

    def plain(self) -> dict[str, int]:
        """Return what `of` reads."""
        found: dict[str, int] = asdict(self)
        return {key: value for key, value in found.items() if key != "accumulated" or value != 1}

    @property
    def step(self) -> int:
        """Return the number of completed optimizer steps."""
        in_an_epoch, in_this_epoch = (
            -(-batches // self.accumulated) for batches in (self.batches, self.batch)
        )
        return self.epoch * in_an_epoch + in_this_epoch

    @property
    def is_between_steps(self) -> bool:
        """Return whether no gradients are waiting for further batches."""
        return self.batch % self.accumulated == 0 or self.batch == self.batches

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step}"

    def describe(self, epochs: str) -> str:
        """Describe for the user where a run resumes.

        epochs: how many epochs the run has.
        """
        if self.batch == self.batches:
            return (
                f"at the validation of epoch {self.epoch + 1} of {epochs}, after step {self.step}"
            )
        return (
            f"at epoch {self.epoch + 1} of {epochs}, after step {self.step} "
            f"({self.batch} of this epoch's {self.batches}"
            f"{' batches' if self.accumulated > 1 else ''})"
        )


def write_progress(content: dict[str, Any], position: Position) -> None:
    """Write the position and the loops' counters into the content of a checkpoint."""
    content["tunebook"]["position"] = position.plain()
    content["epoch"], content["global_step"] = position.epoch, position.step
    loop = content["loops"]["fit_loop"]
    begun, done = position.epoch + 1, position.epoch
    loop["epoch_progress"] = _progress(
        _counts(begun, begun, done, done), _counts(begun, begun, done, done)
    )
    loop["epoch_loop.state_dict"] = {"_batches_that_stepped": position.step}
    total = position.epoch * position.batches + position.batch
    batches = _progress(_counts(*[total] * 4), _counts(*[position.batch] * 4))
    loop["epoch_loop.batch_progress"] = batches | {
        "is_last_batch": position.batch == position.batches
    }
    # If a validation batch has begun, Lightning skips training and starts the validation again.
    began = int(position.batch == position.batches)
    validation = _progress(_counts(began, began, 0, 0), _counts(began, began, 0, 0))
    loop["epoch_loop.val_loop.batch_progress"] = validation | {"is_last_batch": False}
    loop["state_dict"] = {"combined_loader": [{"epoch": position.epoch, "batch": position.batch}]}


def _counts(ready: int, started: int, processed: int, completed: int) -> dict[str, int]:
    return {"ready": ready, "started": started, "processed": processed, "completed": completed}


def _progress(total: dict[str, int], current: dict[str, int]) -> dict[str, Any]:
    return {"total": total, "current": current}
