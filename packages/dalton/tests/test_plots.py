from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dalton import ConvSpec, SpikingCNN, plots, train
from dalton.model.architectures import Architecture
from dalton.plots import plot_run
from dalton.reproduce.figures import accuracies
from reprokit import UserError
from reprokit.plots import colour
from small_runs import small

pytest.importorskip("matplotlib", reason="needs matplotlib")


def record(epoch, **changes):
    return {
        "epoch": epoch,
        "train_accuracy": 0.1 * epoch,
        "validation_accuracy": None,
        "test_accuracy": 0.09 * epoch,
        "layer_losses": {"conv1": 1 / epoch, "dense1": 2 / epoch},
        "firing_rates": {"conv1": 0.1, "dense1": 0.2 + 0.01 * epoch},
        **changes,
    }


def lines(axes):
    return {line.get_label(): line.get_ydata().tolist() for line in axes.get_lines()}


def test_learning_curves_show_what_was_measured():
    figure = plots.learning_curves([record(1), record(2, validation_accuracy=0.3)])
    accuracy, loss = figure.axes
    found = lines(accuracy)
    assert found["training"] == [10, 20]
    assert found["test"] == [9, 18]
    assert np.isnan(found["validation"][0])
    assert found["validation"][1] == 30
    assert lines(loss) == {"conv1": [1, 0.5], "dense1": [2, 1]}
    assert "validation" not in lines(plots.learning_curves([record(1)]).axes[0])


def test_firing_rates_have_a_line_a_layer():
    figure = plots.firing_rates([record(1), record(2)])
    assert lines(figure.axes[0]) == {"conv1": [0.1, 0.1], "dense1": [0.21000000000000002, 0.22]}


def test_rasters_mark_every_spike_of_the_sample():
    spikes = torch.zeros(6, 2, 3, 2, 2)
    spikes[4, 1, 2, 1, 0] = 1
    spikes[0, 1, 0, 0, 1] = 1
    spikes[3, 0] = 1  # another sample
    figure = plots.rasters({"input": spikes, "dense1": torch.zeros(6, 2, 5)}, sample=1)
    (marks,) = figure.axes[0].get_lines()
    assert sorted(zip(marks.get_xdata().tolist(), marks.get_ydata().tolist(), strict=True)) == [
        (0, 1),
        (4, 10),
    ]
    assert len(figure.axes[1].get_lines()[0].get_xdata()) == 0
    many = plots.rasters({"input": torch.ones(3, 1, 5000)}).axes[0].get_lines()[0]
    assert len(many.get_xdata()) == 3 * 200


def test_inputs_and_filters_are_pictures():
    assert len(plots.input_frames(torch.rand(6, 3, 8, 8), events=False).axes) == 4
    counts = torch.zeros(50, 2, 2, 4, 4, dtype=torch.uint8)
    counts[3, 0, 1, 2, 1] = 3  # ON
    counts[49, 1, 0, 0, 0] = 1  # OFF
    panels = [axes.get_images()[0].get_array() for axes in plots.input_frames(counts, events=True).axes]
    assert len(panels) == 10
    assert panels[0][2, 1].tolist() == [1, 0, 0]
    assert panels[9][0, 0].tolist() == [0, 0, 1]
    assert panels[1].sum() == 0
    net = SpikingCNN(Architecture((ConvSpec(5, 3),), (4,)), (2, 8, 8))
    figure = plots.filters(net)
    assert len(figure.axes) == 10
    shown = figure.axes[5].get_images()[0].get_array()
    assert np.allclose(shown, net.weight("conv1")[0, 1].detach())


def test_figures_of_a_run_are_written(tmp_path):
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    run = tmp_path / "run"
    train(small(epochs=1, steps=4, out=run))
    names = ["learning_curves", "firing_rates", "rasters", "input", "filters"]
    written = plot_run(run, tmp_path / "figures")
    files = [file for file in written if file.suffix == ".png"]
    assert [file.name for file in written if file not in files] == ["learning_curves.csv", "firing_rates.csv"]
    assert [file.name for file in files] == [f"{name}.png" for name in names]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(UserError, match="there is nothing to draw"):
        plots.learning_curves([])
    with pytest.raises(UserError, match="there is nothing to draw"):
        plots.rasters({})
    with pytest.raises(UserError, match="holds no run"):
        plot_run(tmp_path)


def test_accuracies_have_one_colour_a_rule_and_say_what_data_they_are_of() -> None:
    def run(method: str, setting: str) -> SimpleNamespace:
        config = SimpleNamespace(arch="A1", method=method, setting=setting, dataset="/data/cifar10-jpeg.zip")
        stored = SimpleNamespace(records=[record(1), record(2)], summary={"dataset": "cifar10-jpeg"})
        return SimpleNamespace(config=config, stored=stored)

    runs = [run("dalton", "bptt"), run("dalton", "online"), run("tfr", "bptt")]
    (panel,) = accuracies(runs, "CIFAR-10", "reduced").axes
    looks = [(line.get_color(), line.get_linestyle()) for line in panel.lines]
    assert looks == [(colour("dalton"), "-"), (colour("dalton"), "--"), (colour("tfr"), "-")]
    assert panel.texts[0].get_text() == "cifar10-jpeg, scale reduced\none line a run"
