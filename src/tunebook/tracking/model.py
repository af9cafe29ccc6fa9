"""The trained network as an MLflow model: written beside the run, then sent."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tunebook.runfolder import write_atomically
from tunebook.tracking import tunebook_exported_model
from tunebook.untrusted import read_regular, require_plain_yaml

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import Model

RUN_TAG = "tunebook.run"
DESCRIPTION = "MLmodel"  # MLflow's name for the file that describes a model
LOADER = (
    "tunebook_exported_model"  # the module's name in the model's code folder, where it stands alone
)


def write_model(network: nn.Module, example: Tensor, folder: Path) -> None:
    """In MLflow's pt2 format, images -> class probabilities, with signature and input example; any batch size, nothing pickled.

    Its own code loads it: MLflow's needs Lightning and torchvision, which a serving process may not be able to import.
    example: at least two images float32 (B, C, H, W).
    """
    import mlflow
    import mlflow.pytorch
    from mlflow.models import Model, infer_signature

    model = (
        nn.Sequential(network, nn.Softmax(dim=1)).cpu().float().eval()
    )  # eval: else dropout would be frozen on
    with torch.no_grad():
        signature = infer_signature(example.numpy(), model(example).numpy())
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier try that was killed
    mlflow.pytorch.save_model(
        model,
        path=str(folder),
        signature=signature,
        input_example=example.numpy(),
        pip_requirements=[
            f"mlflow=={mlflow.__version__}",
            f"torch=={torch.__version__.partition('+')[0]}",
            "numpy",
        ],
        serialization_format="pt2",
        code_paths=[tunebook_exported_model.__file__],
    )
    description = Model.load(str(folder))
    description.flavors["python_function"]["loader_module"] = LOADER
    description.save(str(folder / DESCRIPTION))


def read_description(folder: Path) -> "Model":
    """Return what a folder that `write_model` wrote says of its model. ValueError if it is not such a folder."""
    from mlflow.models import Model

    try:
        require_plain_yaml(read_regular(folder / DESCRIPTION).decode())
        return Model.load(str(folder))
    except Exception as error:  # the file may hold anything
        raise ValueError(f"its {DESCRIPTION} can't be read ({type(error).__name__})") from None


def send_model(
    client: "MlflowClient",
    experiment_id: str,
    run_id: str,
    folder: Path,
    name: str,
    description: "Model",
) -> None:
    """Make `runs:/<run id>/<name>` of a folder that `write_model` wrote. Sent twice it is still one model."""
    from mlflow.entities import LoggedModelOutput

    found = client.search_logged_models(
        [experiment_id], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1
    )
    model = (
        found[0]
        if found
        else client.create_logged_model(experiment_id, name, run_id, tags={RUN_TAG: run_id})
    )
    description.model_id, description.model_uuid, description.run_id = (
        model.model_id,
        model.model_id,
        run_id,
    )
    description.artifact_path = model.artifact_location
    write_atomically(folder / DESCRIPTION, description.to_yaml().encode())
    client.log_model_artifacts(model.model_id, str(folder))
    outputs = client.get_run(run_id).outputs
    if model.model_id not in [
        output.model_id for output in (outputs.model_outputs if outputs else [])
    ]:
        client.log_outputs(
            run_id, [LoggedModelOutput(model.model_id, step=0)]
        )  # MLflow refuses a second time
    client.finalize_logged_model(model.model_id, "READY")
