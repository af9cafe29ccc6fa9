"""The trained network as an MLflow model: written beside the run, then sent."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tunebook.tracking import tunebook_exported_model

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_TAG = "tunebook.run"
LOADER = "tunebook_exported_model"  # the module's name in the model's code folder, where it stands alone


def write_model(network: nn.Module, example: Tensor, folder: Path) -> None:
    """In MLflow's pt2 format, images -> class probabilities, with signature and input example; any batch size, nothing pickled.

    Its own code loads it: MLflow's needs Lightning and torchvision, which a serving process may not be able to import.
    example: at least two images float32 (B, C, H, W).
    """
    import mlflow
    import mlflow.pytorch
    from mlflow.models import Model, infer_signature

    model = nn.Sequential(network, nn.Softmax(dim=1)).cpu().float().eval()  # eval: else dropout would be frozen on
    with torch.no_grad():
        signature = infer_signature(example.numpy(), model(example).numpy())
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier try
    mlflow.pytorch.save_model(
        model,
        path=str(folder),
        signature=signature,
        input_example=example.numpy(),
        pip_requirements=[f"mlflow=={mlflow.__version__}", f"torch=={torch.__version__.partition('+')[0]}", "numpy"],
        serialization_format="pt2",
        code_paths=[tunebook_exported_model.__file__],
    )
    description = Model.load(str(folder))
    description.flavors["python_function"]["loader_module"] = LOADER
    description.save(str(folder / "MLmodel"))


def send_model(client: "MlflowClient", experiment_id: str, run_id: str, folder: Path, name: str) -> None:
    """Makes `runs:/<run id>/<name>` of a folder that `write_model` wrote. Sent twice it is still one model."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    found = client.search_logged_models([experiment_id], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1)
    model = found[0] if found else client.create_logged_model(experiment_id, name, run_id, tags={RUN_TAG: run_id})
    description = Model.load(str(folder))
    description.model_id, description.model_uuid, description.run_id = model.model_id, model.model_id, run_id
    description.artifact_path = model.artifact_location
    description.save(str(folder / "MLmodel"))
    client.log_model_artifacts(model.model_id, str(folder))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")
    shutil.rmtree(folder)
