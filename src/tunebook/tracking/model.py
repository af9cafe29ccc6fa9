"""Write the trained network as an MLflow model into the run's folder, and send it."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from tunebook.run_folder import write_atomically
from tunebook.tracking import tunebook_exported_model
from tunebook.untrusted import read_regular, require_plain_yaml

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import Model

RUN_TAG = "tunebook.run"
DESCRIPTION = "MLmodel"  # MLflow's name for the file that describes a model
# The name of the module in the model's code folder, in which there are no packages.
LOADER = "tunebook_exported_model"


def write_model(network: nn.Module, example: Tensor, folder: Path) -> None:
    """Write a network in MLflow's pt2 format: images -> class probabilities.

    The model has a signature and an input example, and contains no pickle. It accepts any number of
    images, of any size.
    It comes with its own loader: MLflow's loader needs Lightning and torchvision, which a process
    that serves the model may not be able to import.
    network: maps images uint8 (B, H, W, C), of any size, to logits. example: at least two images.
    """
    import mlflow
    import mlflow.pytorch
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    # Without `eval`, dropout would stay on in the exported network.
    model = nn.Sequential(network, nn.Softmax(dim=1)).cpu().float().eval()
    with torch.no_grad():
        classes = model(example).shape[1]
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, example.shape[3]))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, classes))]),
    )
    shutil.rmtree(folder, ignore_errors=True)  # left by an earlier attempt that was killed
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
    """Return MLflow's description of the model in a folder that `write_model` wrote.

    Raises ValueError if it is not such a folder.
    """
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
    """Send a folder that `write_model` wrote as the model `runs:/<run id>/<name>`.

    If it is sent twice, there is still only one model.
    """
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
        # MLflow refuses to log the same output twice.
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")
