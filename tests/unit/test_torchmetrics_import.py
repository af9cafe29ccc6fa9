"""Tests of the import of torchmetrics without torchvision and scipy.signal."""

import subprocess
import sys

SHOW_MODULES = "print(*[name for name in ('torchvision', 'scipy.signal') if name in sys.modules])"
USE = """
import tunebook, torchmetrics, sys
import torchmetrics.functional.image
image = "torchmetrics.functional.image"  # whose attributes are functions of the modules' names
arniqa, dists = (sys.modules[f"{image}.{name}"] for name in ("arniqa", "dists"))
print(arniqa.resnet50(weights=None).fc.out_features)
print(dists.VGG16_Weights.IMAGENET1K_V1.name)
print(arniqa.transforms.Resize(4).size)
import scipy.signal, torchvision.models
print(scipy.signal.windows.hamming(1), torchvision.models.resnet50.__name__)
"""
# A torchmetrics that makes a class of a placeholder's attribute can't be imported with it.
OTHER_VERSION = """
import tunebook, sys
from tunebook import torchmetrics_import
torchmetrics_import.POSTPONED = ("torchvision", "torchvision.models", "matplotlib.pyplot")
import torchmetrics
print(torchmetrics.Accuracy.__name__, "matplotlib.pyplot" in sys.modules)
import torchmetrics.utilities.plot as plot
print(plot.plt.Figure.__name__)
"""


def output_of(code: str) -> list[str]:
    """Return the lines that a new Python process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_lightning_and_torchmetrics_import_neither_torchvision_nor_scipy_signal() -> None:
    code = f"import tunebook, sys, pytorch_lightning, torchmetrics; {SHOW_MODULES}"
    assert output_of(code) == [""]


def test_what_torchmetrics_took_from_a_placeholder_works_on_first_use() -> None:
    assert output_of(USE) == ["1000", "IMAGENET1K_V1", "4", "[1.] resnet50"]


def test_modules_that_are_imported_already_stay() -> None:
    code = "import tunebook, torchvision, scipy.signal, sys; before = torchvision.models.resnet50;"
    code += "import torchmetrics; print(sys.modules['torchvision.models'].resnet50 is before,"
    code += "sys.modules['torchmetrics.functional.image.arniqa'].resnet50 is before)"
    assert output_of(code) == ["True True"]


def test_a_version_that_needs_the_real_modules_is_imported_with_them() -> None:
    assert output_of(OTHER_VERSION) == ["Accuracy True", "Figure"]
