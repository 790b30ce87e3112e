"""The deviations of the learning rules themselves: DEV-1 and DEV-5."""

import torch
from dalton import ALIASES, Architecture, ConvSpec, SpikingCNN, surrogate_derivative, train_step, trainable
from torch import Tensor

STEPS, BATCH = 9, 5


def _net() -> SpikingCNN:
    arch = Architecture((ConvSpec(4, 3), ConvSpec(5, 3, pool=2, dropout=0.5)), (12,))
    return SpikingCNN(arch, (1, 9, 9), 4, tau_current=3e-3, seed=3, dtype=torch.float64)


def _batch() -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(4)
    images = torch.rand(BATCH, 1, 9, 9, generator=stream, dtype=torch.float64)
    return images, torch.randint(0, 4, (BATCH,), generator=stream)


def _masks(net: SpikingCNN) -> dict[str, Tensor]:
    shape = (STEPS, BATCH, *net.layers[1].output_shape)
    return {"conv2": 2.0 * (torch.rand(shape, generator=torch.Generator().manual_seed(5)) < 0.5).double()}


def _weights(method: str, setting: str) -> list[Tensor]:
    net = _net()
    optimizer = torch.optim.Adam(trainable(net, "dalton").values(), lr=1e-2)
    train_step(method, net, optimizer, *_batch(), STEPS, setting, burn_in=2, dropout_masks=_masks(net))  # pyright: ignore
    return [parameter.detach() for parameter in trainable(net, "dalton").values()]


def test_the_originals_rtrl_is_online_and_rtrl_is_another_rule():
    """DEV-1."""
    assert {ALIASES[name] for name in ("TFR_RTRL_SCNN", "DALTON_RTRL_SCNN")} == {
        ("tfr", "online"), ("dalton", "online"),
    }  # fmt: skip
    original = _weights("DALTON_RTRL_SCNN", "bptt")
    online, rtrl = _weights("dalton", "online"), _weights("dalton", "rtrl")
    assert all(torch.equal(a, b) for a, b in zip(original, online, strict=True))
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(rtrl, online, strict=True))


def test_masks_stay_out_of_the_targets_unless_asked_for():
    """DEV-5: eps of a readout below is back(eps) sigma'(delta); masks and clipping only with transfer_masks."""
    images, labels = _batch()
    net = _net()
    masks = _masks(net)
    for with_masks in (False, True):
        found = train_step(
            "dalton", net, None, images, labels, STEPS, dropout_masks=masks, transfer_masks=with_masks, update=False,
            record=("delta", "v", "c", "readout", "target"),
        ).records  # fmt: skip
        eps = {name: found["readout"][name] - found["target"][name] for name in net.layer_names}
        above = eps["dense1"] @ net.out.detach()
        expected = above * _slope(found, "dense1", None, with_masks)
        torch.testing.assert_close(eps["conv2"], expected, rtol=1e-9, atol=1e-12)
        above = (expected @ net.weight("dense1").detach()).view(STEPS, BATCH, *net.layers[1].output_shape)
        expected = above * _slope(found, "conv2", masks["conv2"], with_masks)
        torch.testing.assert_close(eps["conv1"], expected, rtol=1e-9, atol=1e-12)


def _slope(found: dict[str, dict[str, Tensor]], name: str, mask: Tensor | None, with_masks: bool) -> Tensor:
    slope = surrogate_derivative(found["delta"][name])
    if not with_masks:
        return slope
    v = found["v"][name]
    u = torch.cat([torch.zeros_like(v[:1]), v[:-1]]) + found["c"][name]
    assert (u < 0).any()
    slope = slope * (u >= 0)
    return slope if mask is None else slope * mask
