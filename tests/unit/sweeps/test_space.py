"""A sweep's search space gives the settings that apply, and the command line overrides it."""

from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from tunebook.sweeps.request import make_request
from tunebook.sweeps.space import Space, make_space, split
from tunebook.sweeps.study import SweepStudy

SPACE = {
    "optimizer": "choice(adam, sgd)",
    "optimizer=adam": {
        "optimizer.lr": "tag(log, interval(1e-4, 1e-2))",
        "optimizer.amsgrad": "choice(true, false)",
    },
    "optimizer=sgd": {"optimizer.lr": "interval(0.1, 1)", "optimizer.momentum": "choice(0.5, 0.9)"},
    "model.filters": "int(interval(4, 8))",
}


def space_of(*words: str) -> Space:
    fixed, varying = split(words)
    return make_space(
        varying, SPACE, dict(word.split("=") for word in fixed), {"optimizer": "adadelta"}
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    trials=st.integers(1, 8),
    stops=st.lists(st.integers(1, 8), max_size=3),
)
def test_a_search_draws_what_applies_and_nothing_twice(
    seed: int, trials: int, stops: list[int]
) -> None:
    """A search draws only the settings that apply, and no point twice.

    However often it is interrupted, the points are those of an uninterrupted search.
    """
    own = {"name": "x", "trials": trials, "executor": "local", "workers": None, "threads": None,
           "storage": None, "seed": seed, "trial_timeout": None, "patience_s": 1,
           "max_failures": None, "test": True, "retry_failed": False, "join": False,
           "dry_run": False, "pruner": None, "ray": {"address": None},
           "slurm": {"cluster": "slurm", "timeout_min": 1},
           "sampler": {"_target_": "optuna.samplers.RandomSampler"}}  # fmt: skip
    request = make_request("random", (), own, space_of(), [], "val/acc", "max")

    def drawn(breaks: list[int]) -> list[list[str]]:
        storage, found = InMemoryStorage(), {}
        for most in [*breaks, 100]:
            study = SweepStudy(request, storage)
            study.begin()
            while len(found) < most and (trial := study.next()) is not None:
                found[trial.number] = trial.overrides
        return [found[number] for number in sorted(found)]

    points = drawn([])
    assert drawn(sorted(stops)) == points
    assert len(points) == trials
    assert len({tuple(point) for point in points}) == trials
    for point in points:
        values = dict(word.split("=") for word in point)
        assert values["optimizer"] in ("adam", "sgd")
        assert ("optimizer.amsgrad" in values) == (values["optimizer"] == "adam")
        assert ("optimizer.momentum" in values) == (values["optimizer"] == "sgd")
        low, high = (1e-4, 1e-2) if values["optimizer"] == "adam" else (0.1, 1)
        assert low <= float(values["optimizer.lr"]) <= high
        assert 4 <= int(values["model.filters"]) <= 8


def test_the_command_line_takes_the_place_of_the_space() -> None:
    assert set(space_of("optimizer.lr=0.1,0.2").described()) == {
        "optimizer.lr", "optimizer", "model.filters", "optimizer.amsgrad (optimizer=adam)",
        "optimizer.momentum (optimizer=sgd)",
    }  # fmt: skip
    assert set(space_of("optimizer=sgd", "model.filters=4").described()) >= {
        "optimizer.lr (optimizer=sgd)"
    }
    points = space_of("optimizer=sgd", "optimizer.lr=0.1,0.2", "model.filters=4").points()
    assert len(points) == 4
