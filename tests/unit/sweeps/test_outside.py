"""Settings for Slurm, Ray and a database run no program and add no line to a script."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import Cli
from tests.helpers.runs import with_store
from tunebook.config.validation import SettingError
from tunebook.sweeps.outside import check_cluster, check_storage, slurm_parameters

SLURM = ("sweep.executor=slurm", "sweep.workers=1", "sweep.slurm.cluster=local")
RUNS_A_PROGRAM = [
    (*SLURM, 'sweep.slurm.more={local_setup: ["touch {}/canary"]}'),
    (*SLURM, 'sweep.slurm.more={slurm_setup: ["touch {}/canary"]}'),
    (*SLURM, "sweep.slurm.more={slurm_additional_parameters: {wrap: 'touch {}/canary'}}"),
    (*SLURM, "sweep.slurm.more={slurm_srun_args: ['--prolog={}/x']}"),
    (*SLURM, "sweep.slurm.more={slurm_partition: 'a;touch {}/canary'}"),
    ("sweep.executor=ray", "sweep.ray.address=antigravity://x"),
    ("sweep.storage=sqlite+evil:///{}/canary",),
    ("sweep.storage='sqlite:///{}/canary?plugin=evil'",),
]


@pytest.mark.parametrize("words", RUNS_A_PROGRAM, ids=lambda words: words[-1][:50])
def test_a_setting_that_would_run_a_program_is_refused(
    cli: Cli, tmp_path: Path, words: tuple[str, ...]
) -> None:
    placed = [word.replace("{}", str(tmp_path)) for word in words]
    result = cli("train.py", "-m", "data=digits", "seed=1,2", *placed, *with_store(tmp_path))
    assert result.code == 2
    assert re.fullmatch(r"error: sweep\.(slurm\.more|ray\.address|storage)[^\n]*\n", result.err)
    assert {path.name for path in tmp_path.iterdir()} == {"mlflow.db"}


def refusal(call: Callable[[], None]) -> str:
    """Return the error of a call that is refused, else an empty text."""
    try:
        call()
    except SettingError as error:
        return str(error)
    return ""


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text()),
    st.sampled_from(["gpu", "a;b", "a\nb", "$(x)", "`x`", "gpu:2", "1-00:00:00", "node[1-4]",
                     "a&b"]),
)  # fmt: skip
KEYS = st.one_of(
    st.text(),
    st.builds(
        str.__add__,
        st.sampled_from(["", "slurm_", "local_", "debug_"]),
        st.sampled_from(
            ["setup", "teardown", "srun_args", "additional_parameters", "python", "partition",
             "time", "constraint", "mem_gb", "gpus_per_node", "qos", "use_srun", "nodes",
             "job_name", "folder", "stderr_to_stdout", "comment", "exclusive", "mail_user",
             "array_parallelism"]
        ),
    ),
)  # fmt: skip


@given(more=st.dictionaries(KEYS, ANY, max_size=3))
@example(more={"a\nb": 1})
def test_what_slurm_is_given_is_a_plain_resource(more: dict[str, Any]) -> None:
    """Each setting that is accepted becomes a single option in a line of the batch script."""
    found: dict[str, Any] = {}
    said = refusal(lambda: found.update(slurm_parameters(more)))
    assert "\n" not in said
    for key, value in found.items():
        name = key.removeprefix("slurm_")
        assert name not in ("setup", "teardown", "srun_args", "additional_parameters", "python")
        assert not isinstance(value, list | dict)
        assert re.fullmatch(r"[\w.,:/@+=&|*()\[\]-]*", str(value), re.A)


def test_resources_with_and_without_prefix() -> None:
    from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

    more = {"partition": "gpu", "slurm_qos": "low", "mem_gb": 8, "gpus_per_node": 1,
            "slurm_time": 30, "constraint": "a100|h100", "slurm_gres": "gpu:a100:2",
            "nodelist": "node[1-4]"}  # fmt: skip
    found = slurm_parameters(more)
    assert found["slurm_partition"] == "gpu"
    assert found["slurm_qos"] == "low"
    assert (found["mem_gb"], found["gpus_per_node"]) == (8, 1)
    special = {key.removeprefix("slurm_"): value for key, value in found.items() if "slurm_" in key}
    assert special.keys() <= SlurmExecutor._valid_parameters()
    script = _make_sbatch_string("true", Path("x"), **special)
    assert "#SBATCH --partition=gpu\n" in script
    for twice in ({"partition": "a", "slurm_partition": "b"}, {"mem_gb": 1, "slurm_mem_gb": 2}):
        with pytest.raises(SettingError, match="given twice"):
            slurm_parameters(twice)


@pytest.mark.parametrize(
    "address", ["auto", "local", "10.0.0.1:6379", "ray://head.x:10001", "[::1]:6379"]
)
def test_addresses_of_a_ray_cluster(address: str) -> None:
    check_cluster(
        {"ray": {"address": address}, "slurm": {"cluster": "slurm", "timeout_min": 1, "more": None}}
    )


@given(
    address=st.one_of(st.text(), st.from_regex(r"[a-z.]{1,9}://[a-z:]{1,9}", fullmatch=True), ANY)
)
def test_no_other_address_of_a_ray_cluster(address: Any) -> None:
    said = refusal(
        lambda: check_cluster(
            {
                "ray": {"address": address},
                "slurm": {"cluster": "slurm", "timeout_min": 1, "more": None},
            }
        )
    )
    assert "\n" not in said
    if not said:
        assert address is None or re.fullmatch(
            r"auto|local|(ray://)?[\w.:\[\]-]+:\d+", address, re.A
        )


@given(
    address=st.one_of(st.text(), st.from_regex(r"[a-z+]{1,12}:///?[a-z/?=&]{0,12}", fullmatch=True))
)
def test_no_other_address_of_a_database(address: str) -> None:
    said = refusal(lambda: check_storage(address))
    assert "\n" not in said
    if not said:
        assert address.startswith(("sqlite:///", "postgresql", "mysql"))
