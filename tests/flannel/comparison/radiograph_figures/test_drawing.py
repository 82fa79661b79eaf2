import numpy as np
import torch
from matplotlib.figure import Figure

from flannel.analysis.saliency_checks import STAGES, Check, Example
from flannel.analysis.saliency_report import saliency_sheet
from flannel.comparison.radiograph_figures.drawing import show_saliency


def test_saliency_is_drawn_up_to_its_own_maximum():
    axes = Figure().subplots()
    levels = np.full((64, 64), 90, np.uint8)
    saliency = np.zeros((64, 64), np.float32)
    saliency[10, 20] = 0.2
    show_saliency(axes, levels, saliency)
    heat = axes.images[1].get_array()
    assert heat.max() == heat[10, 20] == 1
    assert axes.images[1].get_alpha()[0, 0] == 0  # the radiograph shows where there is nothing
    bare = Figure().subplots()
    show_saliency(bare, levels, np.zeros((64, 64), np.float32))
    assert len(bare.images) == 1


def test_a_line_for_each_radiograph(store):
    cam = torch.rand(64, 64, generator=torch.Generator().manual_seed(1))
    by_chance = dict.fromkeys(STAGES, cam)
    one, other = Example("test-0", "COVID-19", "Normal"), Example("test-1", "COVID-19", "COVID-19")
    found = [
        Check(one, cam, by_chance, 0.61, 0.4, dict.fromkeys(STAGES, 0.25)),
        Check(other, 0 * cam, by_chance, np.nan, 0.4, dict.fromkeys(STAGES, np.nan)),
    ]
    figure = saliency_sheet("patched small fold 0", store, found)
    assert len(figure.axes) == 2 * (2 + len(STAGES))
    assert [axes.get_title() for axes in figure.axes[1:5]] == ["as learned", *STAGES]
    assert figure.axes[0].get_ylabel() == "true: COVID-19\nsaid: Normal"
    assert figure.axes[1].get_xlabel().startswith("61% in the lungs, flat 40%")
    assert figure.axes[2].get_xlabel() == "rank correlation 0.25"
    assert figure.axes[6].get_xlabel() == "an empty map"
    assert figure.axes[7].get_xlabel() == "nothing to compare"
