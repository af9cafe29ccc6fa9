"""The picture of importances fills the bars of settings that matter."""

import matplotlib.patches
import numpy as np

from tests.helpers.worlds import KINDS, World
from tunebook.analysis.findings import findings
from tunebook.report.pictures.runs import importance


def test_a_family_that_matters_is_filled() -> None:
    """The learning rates of all optimizers have one bar, filled if they matter together."""
    rng = np.random.default_rng(1000)
    found = findings(KINDS["random 120"](World.draw(rng), rng))
    assert found.joint[0].matters
    (axes,) = importance(found).figure.axes
    bars = [one for one in axes.patches if isinstance(one, matplotlib.patches.Rectangle)]
    filled = [bar.get_hatch() is None for bar in bars]
    names = [one.setting.name for one in found.importances]
    matters = {one.setting.name for one in found.effects if one.matters}
    assert filled == [name in matters or name == found.joint[0].name for name in names]
