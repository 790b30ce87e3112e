"""Deviations of the learning rules: what `online` leaves out, and what `transfer_masks` puts in."""

import dalton
import pytest
import torch


def network(dropout=0.0):
    conv = (dalton.ConvSpec(4, 3, pool=2), dalton.ConvSpec(5, 3, dropout=dropout))
    return dalton.SpikingCNN(
        dalton.Architecture(conv=conv, dense=(12, 9)), (1, 12, 12), tau_current=5e-3, gain=2.0, seed=3,
        dtype=torch.float64,
    )  # fmt: skip


def gradients(method, setting, dropout=0.0, **options):
    net = network(dropout)
    images = torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(6)
    dalton.train_step(method, net, None, images, labels, steps=12, setting=setting, update=False,
                      generator=torch.Generator().manual_seed(2), engine="torch", **options)  # fmt: skip
    return {name: p.grad for name, p in dalton.trainable(net, method).items()}


@pytest.mark.parametrize("method", ["tfr", "dalton"])
def test_online_is_one_step_and_rtrl_is_the_whole_gradient(method):
    """DEV-1: with weights withheld rtrl sums up to the gradient by bptt, the original's one-step rule does not."""
    whole = gradients(method, "bptt")
    traced = gradients(method, "rtrl", burn_in=0)
    truncated = gradients(method, "online", burn_in=0)
    for name, expected in whole.items():
        assert expected.abs().max() > 0, name
        torch.testing.assert_close(traced[name], expected, rtol=1e-9, atol=1e-12)
        assert (truncated[name] - expected).abs().max() > 0.01 * expected.abs().max(), name


def test_masks_in_the_target_recursion_are_an_option():
    """DEV-5: by default dropout and clipping do not enter the targets; with `transfer_masks` they do, below the top."""
    plain = gradients("dalton", "bptt", dropout=0.5)
    masked = gradients("dalton", "bptt", dropout=0.5, transfer_masks=True)
    assert torch.equal(plain["dense2"], masked["dense2"])
    assert torch.equal(plain["dense1"], gradients("dalton", "bptt", dropout=0.5)["dense1"])
    for name in ("conv1", "conv2"):
        assert not torch.allclose(plain[name], masked[name], rtol=1e-3), name
