"""Configuration files: the original's JSON, our TOML, presets, and every way to get them wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from reprokit import UserError
from sbs.config import TrainConfig, check, from_mapping, read_toml, rounded_batch_size
from sbs.formats.json_comments import strip_comments
from sbs.formats.original_config import parse_original, read_original
from sbs.formats.translate import from_original
from sbs.presets import PRESETS, preset

EXAMPLE = Path(__file__).parent / "mnist_v1.json"


def example() -> dict:
    return json.loads(strip_comments(EXAMPLE.read_text()))


def parse(values: dict, **kwargs):
    return parse_original(json.dumps(values), source="file.json", **kwargs)


def set_key(values: dict, name: str, value) -> dict:
    *sections, key = name.split(".")
    inner = values
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[key] = value
    return values


def test_example_with_comments_and_trailing_commas_is_read():
    config = read_original(EXAMPLE)
    assert config.layers == 6
    assert config.network_structure.forward_neuron_numbers[4] == [64, 1024]
    assert config.learning_parameters.learning_rate_gamma_w == 0.025
    assert config.cooldown_after_number_of_spikes == 1000
    assert config.dialect == "v1"


def test_the_example_file_is_the_preset():
    ours, notes = from_original(replace(read_original(EXAMPLE), number_of_cpu_processes=1), name="mnist-v1")
    theirs = preset("mnist-v1")
    assert ours.network.layers[0] == theirs.network.layers[0]
    # names apart: the pooling layers' neuron numbers are spelt out in the file and 500 becomes 480 on 24 or
    # more cores
    assert replace(ours.learning, batch_size=480) == theirs.learning
    assert replace(ours.network, layers=()) == replace(theirs.network, layers=())
    assert ours.augmentation == theirs.augmentation
    assert ours.data.on_off
    assert any("no pattern files" in note for note in notes)


def test_comment_signs_inside_strings_stay():
    config = parse_original(json.dumps(set_key(example(), "data_path", "a//b#c/*d*/")))
    assert config.data_path == "a//b#c/*d*/"


@pytest.mark.parametrize("threads", [1, 3, 7, 24])
def test_every_key_of_the_specification_is_read(threads):
    values = example()
    values |= {
        "learning_step": 3,
        "learning_step_max": 9,
        "number_of_cpu_processes": threads,
        "weight_path": "w",
        "eps_xy_path": "e",
        "reduction_cooldown": 5.0,
        "epsilon_0": 2,
        "update_after_x_batch": 3.0,
        "results_path": "r",
        "image_statistics": {"mean": [], "the_size": []},
    }
    values["augmentation"] = {
        "crop_width_in_pixel": 1,
        "flip_p": 0.25,
        "jitter_brightness": 0.1,
        "jitter_contrast": 0.2,
        "jitter_saturation": 0.3,
        "jitter_hue": 0.4,
        "use_on_off_filter": False,
    }
    values["learning_parameters"] |= {
        "lr_scheduler_use_performance": False,
        "lr_scheduler_tau_w": 4,
        "lr_scheduler_tau_eps_xy": 6,
        "alpha_number_of_iterations": 2,
        "number_of_batches_for_one_update": 3,
        "lr_schedule_name": "SbSLRScheduler",
    }
    values["data_mode"] = "MNIST_FASHION"
    values["network_structure"]["forward_neuron_numbers"][0] = [1, 32]
    original = parse(values)
    assert original.dialect == "v1.1"
    config, _ = from_original(original, profile="faithful")
    assert config.learning.updates == 6
    assert config.learning.batch_size == rounded_batch_size(500, threads)
    assert config.learning.batches_per_update == 3
    assert config.learning.schedule == "sbs"
    assert config.learning.weight_tau == 4
    assert config.learning.constraint == "norm-first"
    assert config.network.alpha_iterations == 2
    assert config.network.epsilon_0 == 2.0
    assert config.network.epsilon_per_kernel
    assert config.augmentation.once_per_batch
    assert config.augmentation.hue == 0.4
    assert not config.data.on_off
    assert config.start.step == 3
    assert config.start.weight_path == "w"


def test_v1_counts_patterns_and_v11_counts_batches():
    values = set_key(example(), "update_after_x_batch", 2.5)
    set_key(values, "learning_parameters.number_of_batches_for_one_update", 7)
    assert parse(values).batches_per_update == 3
    assert parse(values, dialect="v1.1").batches_per_update == 7


def test_cooldown_default_differs_between_v1_and_v11():
    values = example()
    del values["cooldown_after_number_of_spikes"]
    assert parse(values).cooldown_after_number_of_spikes == 0
    assert parse(values, dialect="v1.1").cooldown_after_number_of_spikes == -1


@pytest.mark.parametrize(
    ("batch", "threads", "expected"), [(500, 3, 498), (3, 7, 7), (500, 24, 480), (24, 1, 24), (1, 1, 1)]
)
def test_batch_size_rounding(batch, threads, expected):
    """DEV-21."""
    assert rounded_batch_size(batch, threads) == expected


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("batchsize", 5, ["'batchsize'", "'batch_size'"]),
        ("network_structure.stride", [], ["'network_structure.stride'", "'network_structure.strides'"]),
        ("learning_parameters.eps_xy_initial", 0.1, ["learning_parameters.eps_xy_intitial"]),
        ("augmentation.flip", 0.1, ["augmentation.flip_p"]),
        ("network_structure.batch_size", 5, ["batch_size", "top level"]),
        ("flip_p", 0.5, ["flip_p", "augmentation"]),
        ("network_structure.strides", [[1, 1]], ["network_structure.strides", "1 entries", "6"]),
        ("network_structure.padding", [[0]] * 6, ["network_structure.padding[0]", "two whole numbers"]),
        ("network_structure.dilation", [[0, 0]] * 6, ["network_structure.dilation[0]", "at least 1"]),
        ("network_structure.strides", [["1", 1]] * 6, ["network_structure.strides[0][0]", "whole number"]),
        ("network_structure.is_pooling_layer", [1] * 6, ["is_pooling_layer[0]", "true or false"]),
        ("network_structure.is_pooling_layer", [], ["is_pooling_layer is empty"]),
        ("network_structure.number_of_output_neurons", 11, ["number_of_output_neurons is 11", "10 neurons"]),
        ("network_structure", [], ["network_structure must be an object"]),
        ("number_of_spikes", 0, ["number_of_spikes is 0", "1 or more"]),
        ("number_of_spikes", 1.5, ["number_of_spikes", "whole number"]),
        ("number_of_spikes", True, ["number_of_spikes", "whole number"]),
        ("epsilon_0", 0, ["epsilon_0 is 0.0", "greater than 0"]),
        ("batch_size", 0, ["batch_size is 0"]),
        ("data_mode", "MNIS", ["data_mode is 'MNIS'", "MNIST_FASHION"]),
        ("learning_parameters.optimizer_name", "SGD", ["optimizer_name is 'SGD'", "Adam"]),
        ("learning_parameters.lr_schedule_name", "Cosine", ["lr_schedule_name", "SbSLRScheduler"]),
        ("learning_parameters.learning_active", "yes", ["learning_active", "true or false"]),
        ("augmentation.jitter_hue", 0.7, ["augmentation.jitter_hue is 0.7", "0.5"]),
    ],
)
def test_mistakes_are_named(name, value, words):
    with pytest.raises(UserError) as caught:
        parse(set_key(example(), name, value))
    message = str(caught.value)
    assert message.startswith("file.json: ")
    for word in words:
        assert word in message


def test_layers_must_fit_one_another():
    values = example()
    values["network_structure"]["forward_neuron_numbers"][2] = [16, 64]
    with pytest.raises(UserError, match=r"forward_neuron_numbers\[2\] expects 16 inputs but layer 1 has 32"):
        parse(values)
    values = example()
    values["network_structure"]["forward_neuron_numbers"][1] = [32, 16]
    with pytest.raises(UserError, match="pooling layer needs equal numbers"):
        parse(values)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", '{"a": }', '{"batch_size": 1, "batch_size": 2}', '{"epsilon_0": NaN}', "{",
        pytest.param("[" * 100_000, id="brackets without end"), pytest.param("1" * 9_000, id="a long number"),
    ],
)  # fmt: skip
def test_broken_files_are_one_sentence(text):
    with pytest.raises(UserError, match=r"broken\.json"):
        parse_original(text, source="broken.json")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.json"):
        read_original(tmp_path / "nothing.json")


def test_nothing_left_to_learn_is_an_error():
    with pytest.raises(UserError, match="raise learning_step_max"):
        from_original(parse(set_key(example(), "learning_step", 1000)))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_survive_a_round_trip(name):
    config = preset(name)
    check(config)
    assert from_mapping(json.loads(json.dumps(config.content()))) == config


def test_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match="'mnist-v2'"):
        preset("mnist_v2")


def test_toml(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(
        'seed = 4\n[data]\nsource = "digits"\n[augmentation]\ncrop = 0\n[network]\nnumber_of_spikes = 50\n'
        '[[network.layers]]\nkind = "sbs"\nneurons = 10\nkernel = [8, 8]\n'
    )
    config = read_toml(file)
    assert config.seed == 4
    assert config.network.layers[0].kernel == (8, 8)
    assert config.learning == TrainConfig().learning


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sede = 4", ["'sede'", "'seed'"]),
        ("[network]\nspikes = 4", ["'network.spikes'", "nearest"]),
        ('[learning]\nloss = "mse"', ["learning.loss", "'mixed'", "'cross-entropy'"]),
        ("[[network.layers]]\nneurons = 10\nkernel = [8]", ["network.layers[0].kernel", "a list of 2"]),
        ("[[network.layers]]\nneurons = 0", ["network.layers[0].neurons is 0"]),
        ('[[network.layers]]\nkind = "average-pool"', ["last entry", "must be 'sbs'"]),
        ("[[network.layers]]\nneurons = 10\nstride = [0, 1]", ["network.layers[0].stride"]),
        (
            "[network]\nnumber_of_spikes = 0\n[[network.layers]]\nneurons = 10",
            ["network.number_of_spikes is 0"],
        ),
        ("threads = 0\n[[network.layers]]\nneurons = 10", ["threads is 0"]),
        ("seed = 1.5", ["seed must be a whole number"]),
        ("[network]\nepsilon_0 = nan", ["network.epsilon_0 must be a finite number"]),
        ("seed = ", ["cannot be read as TOML"]),
        ("seed = 1", ["network.layers is empty"]),
    ],
)
def test_toml_mistakes_are_named(tmp_path, text, words):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_toml(file)
    for word in ["run.toml", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image_statistics.mean", [0.1], "image_statistics.mean"),
        ("image_statistics.the_size", [24, 24], "image_statistics.the_size"),
        ("learning_parameters.number_of_batches_for_one_update", 4, "update_after_x_batch"),
        ("network_structure.forward_neuron_numbers",
         [[6, 32], *example()["network_structure"]["forward_neuron_numbers"][1:]],
         r"expects 6 inputs.*1 channel, 2 after the on/off split; give 2"),
    ],
)  # fmt: skip
def test_a_key_that_would_be_ignored_is_refused(key, value, message):
    values = example()
    values.setdefault(key.split(".")[0], {})
    set_key(values, key, value)
    with pytest.raises(UserError, match=message):
        from_original(parse(values))


def test_two_counts_of_batches_that_contradict_each_other_are_refused_in_v11():
    values = set_key(example(), "update_after_x_batch", 2.0)
    set_key(values, "learning_parameters.number_of_batches_for_one_update", 3)
    with pytest.raises(UserError, match="number_of_batches_for_one_update = 3"):
        from_original(parse(values, dialect="v1.1"))
    set_key(values, "update_after_x_batch", 3.0)
    assert from_original(parse(values, dialect="v1.1"))[0].learning.batches_per_update == 3


def test_what_a_file_asks_for_in_vain_is_said():
    values = set_key(example(), "results_path", "./Results")
    set_key(values, "learning_parameters.overload_path", "./nowhere")
    set_key(values, "augmentation.flip_p", 0.5)
    _, notes = from_original(parse(values))
    for word in ("results_path", "overload_path", "flip_p"):
        assert any(word in note for note in notes), word


@pytest.mark.parametrize(("mode", "preset_name"), [("MNIST", "mnist-v2"), ("CIFAR10", "cifar10-v2")])
def test_a_file_of_version_2_names_the_preset(mode, preset_name):
    for values in (
        {"data_mode": mode, "epoch_id": 0},
        {"data_mode": mode, "network_structure": {"layer_type": []}},
    ):
        with pytest.raises(UserError, match=f"second version.*sbs train {preset_name}"):
            parse(values)
