"""Where in a run a checkpoint was taken, and what Lightning's loops have to be told to go on exactly there.

Lightning saves its loops' counters as they happen to be in the hook that saves; resumed from some hooks it skips a validation, a
scheduler's step or an epoch's shuffling. Here they are written from the position alone, in the two forms that Lightning (2.6) goes
on from without skipping anything: in the middle of an epoch, and in the middle of its validation, which is then run from the start.
"""

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Position:
    """`batch` of an epoch's `batches` training batches are done; epochs count from 0. All of them done: validation comes next."""

    epoch: int
    batch: int
    batches: int

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """The position that a checkpoint holds."""
        found = content["tunebook"]["position"]
        return cls(int(found["epoch"]), int(found["batch"]), int(found["batches"]))

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.epoch * self.batches + self.batch

    def __str__(self) -> str:
        return f"epoch {self.epoch + 1}, step {self.step}"

    def told(self, epochs: str) -> str:
        """Return where a run goes on from here, for a user. epochs: how many it has."""
        if self.batch == self.batches:
            return (
                f"with the validation of epoch {self.epoch + 1} of {epochs}, after step {self.step}"
            )
        return f"in epoch {self.epoch + 1} of {epochs}, after step {self.step} ({self.batch} of this epoch's {self.batches})"


def put_into(content: dict[str, Any], position: Position) -> None:
    """Sets the position and the loops' counters in what Lightning is about to save."""
    content["tunebook"]["position"] = asdict(position)
    content["epoch"], content["global_step"] = position.epoch, position.step
    loop = content["loops"]["fit_loop"]
    begun, done = position.epoch + 1, position.epoch
    loop["epoch_progress"] = _progress(
        _counts(begun, begun, done, done), _counts(begun, begun, done, done)
    )
    loop["epoch_loop.state_dict"] = {"_batches_that_stepped": position.step}
    batches = _progress(_counts(*[position.step] * 4), _counts(*[position.batch] * 4))
    loop["epoch_loop.batch_progress"] = batches | {
        "is_last_batch": position.batch == position.batches
    }
    # "One validation batch has begun": Lightning then skips training, and starts the validation again.
    began = int(position.batch == position.batches)
    validation = _progress(_counts(began, began, 0, 0), _counts(began, began, 0, 0))
    loop["epoch_loop.val_loop.batch_progress"] = validation | {"is_last_batch": False}
    loop["state_dict"] = {"combined_loader": [{"epoch": position.epoch, "batch": position.batch}]}


def _counts(ready: int, started: int, processed: int, completed: int) -> dict[str, int]:
    return {"ready": ready, "started": started, "processed": processed, "completed": completed}


def _progress(total: dict[str, int], current: dict[str, int]) -> dict[str, Any]:
    return {"total": total, "current": current}
