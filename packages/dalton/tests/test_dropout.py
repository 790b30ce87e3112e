"""Dropout: how many spikes are kept, and which masks belong to which sample."""

from types import SimpleNamespace

import pytest
import torch
from dalton.model.dropout import DropoutMask, SampleDropout, StepDropout, draw_keep


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def network(**dropouts):
    layers = [
        SimpleNamespace(name=name, dropout=share, output_shape=(3, 5)) for name, share in dropouts.items()
    ]
    return SimpleNamespace(layers=layers, device=torch.device("cpu"))


@pytest.mark.parametrize("dropout", [0.0, 1e-6, 0.05, 0.2, 0.5, 0.9])
def test_the_share_of_kept_spikes(dropout):
    keep = draw_keep((4, 100_001), dropout, source())
    assert keep.shape == (4, 100_001)
    assert keep.dtype == torch.bool
    for row in keep:  # five standard deviations, and 2^-17 for the levels
        assert (
            abs(float(row.double().mean()) - (1 - dropout))
            <= 5 * (0.25 / 100_001) ** 0.5 * (dropout > 0) + 2**-17
        )


@pytest.mark.parametrize("size", [1, 3, 4, 5, 8])
def test_any_size_is_filled(size):
    assert draw_keep((size,), 0.5, source()).shape == (size,)
    assert not draw_keep((size,), 1.0, source()).any()


def test_every_sample_has_a_seed_of_its_own_from_a_wide_range():
    dropout = SampleDropout(network(conv1=0.5), None, source(), 500, 2)
    assert len(set(dropout.seeds)) == 500
    assert min(dropout.seeds) >= 0
    assert 2**61 < max(dropout.seeds) < 2**62
    assert SampleDropout(network(conv1=0.0), None, source(), 500, 2).seeds == []


def test_masks_do_not_depend_on_how_a_batch_is_divided():
    dropout = SampleDropout(network(conv1=0.5, dense1=0.0, dense2=0.25), None, source(), 6, 4)
    whole = dropout.masks(slice(0, 6))
    assert whole.keys() == {"conv1", "dense2"}
    for name, scale in (("conv1", 2.0), ("dense2", 4 / 3)):
        assert whole[name].scale == pytest.approx(scale)
        assert whole[name].keep.shape == (4, 6, 3, 5)
        parts = [dropout.masks(part)[name].keep for part in (slice(0, 1), slice(1, 6))]
        assert torch.equal(torch.cat(parts, 1), whole[name].keep)
    first, second = whole["conv1"].keep[:, 0], whole["conv1"].keep[:, 1]
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


def test_steps_have_masks_of_their_own():
    dropout = StepDropout(network(conv1=0.5, dense1=0.0), None, source(), 7)
    steps = [dropout.masks(t) for t in range(3)]
    assert [list(step) for step in steps] == [["conv1"]] * 3
    masks = [step["conv1"] for step in steps]
    assert all(mask.keep.shape == (1, 7, 3, 5) and mask.scale == 2.0 for mask in masks)
    assert not torch.equal(masks[0].keep, masks[1].keep)
    assert torch.equal(
        StepDropout(network(conv1=0.5), None, source(), 7).masks(0)["conv1"].keep, masks[0].keep
    )


def test_given_masks_are_taken_as_they_are():
    given = {"conv1": DropoutMask.from_multipliers(torch.arange(24.0).reshape(3, 4, 2))}
    assert given["conv1"].scale is None
    assert torch.equal(
        StepDropout(network(conv1=0.5), given, None, 4).masks(1)["conv1"].keep, given["conv1"].keep[1:2]
    )
    part = SampleDropout(network(conv1=0.5), given, None, 4, 3).masks(slice(1, 3))["conv1"]
    assert torch.equal(part.multipliers(torch.float64), given["conv1"].keep[:, 1:3].double())


def test_multipliers_of_one_value_are_a_mask_with_a_scale():
    values = torch.tensor([0.0, 1.25, 1.25, 0.0])
    mask = DropoutMask.from_multipliers(values)
    assert mask.scale == 1.25
    assert mask.keep.tolist() == [False, True, True, False]
    assert torch.equal(mask.multipliers(torch.float32), values)
    assert torch.equal(mask.part((slice(1, 3),)).multipliers(torch.float32), values[1:3])
    nothing = DropoutMask.from_multipliers(torch.zeros(2))
    assert nothing.scale == 1.0
    assert not nothing.keep.any()


@pytest.mark.parametrize("kind", [SampleDropout, StepDropout])
def test_masks_of_an_accelerator_are_drawn_there(kind, monkeypatch):
    """One generator of the device, seeded from the given one; none where nothing is dropped."""
    plain, made = torch.Generator, []
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": (made.append(str(device)), plain())[1])
    for share, devices in ((0.5, ["meta"]), (0.0, [])):
        made.clear()
        net = network(conv1=share)
        net.device = torch.device("meta")
        steps = (4,) if kind is SampleDropout else ()
        dropout = kind(net, None, plain().manual_seed(0), 6, *steps)
        masks = dropout.masks(slice(0, 6) if steps else 0)
        assert made == devices
        assert [mask.keep.device.type for mask in masks.values()] == devices
