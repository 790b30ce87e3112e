"""Spikes are independent draws from the patch: chi-square against P, independence in time and between positions."""

import torch
from sbs import SbSLayer
from scipy import stats
from torch import Tensor

SPIKES = 4000


def spikes_of(channels: int, kernel: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return P ``(position, component)`` and spikes ``(position, spike)`` of a layer with 8 positions."""
    torch.manual_seed(seed)
    layer = SbSLayer(channels, 4, (kernel, kernel), kernel, SPIKES)
    image = torch.rand(8, channels, kernel, kernel) ** 2
    image[:, 0, 0, 0] = 0
    _, spikes = layer.infer_with_spikes(image, seed=1000 + seed)
    p = layer.geometry.patches(image)
    return p / p.sum(1, keepdim=True), spikes[:, :, 0, 0].long()


def test_frequencies_follow_the_patch() -> None:
    values = []
    for channels, kernel in ((2, 5), (1, 3), (32, 2), (40, 3)):
        p, spikes = spikes_of(channels, kernel, channels)
        counts = torch.stack([torch.bincount(train, minlength=p.shape[1]) for train in spikes])
        assert bool((counts[p == 0] == 0).all())
        frequent = p * SPIKES >= 5
        for row in range(len(p)):
            wanted = torch.cat([p[row][frequent[row]], p[row][~frequent[row]].sum().view(1)]) * SPIKES
            seen = torch.cat([counts[row][frequent[row]], counts[row][~frequent[row]].sum().view(1)])
            keep = wanted >= 5
            wanted, seen = wanted[keep].double(), seen[keep].double()
            values.append(stats.chisquare(seen, wanted * (seen.sum() / wanted.sum())).pvalue)
    assert min(values) > 1e-5
    assert stats.kstest(values, "uniform").pvalue > 1e-4


def test_spikes_are_independent_in_time_and_between_positions() -> None:
    p, spikes = spikes_of(2, 3, 5)
    groups = (p.cumsum(1) * 3.999).long()  # four groups of components of about equal probability
    group = groups.gather(1, spikes)
    values = []
    for lag in (1, 2, 4, 16, 64):
        for row in range(len(group)):
            values.append(_independent(group[row, :-lag], group[row, lag:]))
    values += [_independent(group[row], group[row + 1]) for row in range(len(group) - 1)]
    assert min(values) > 1e-5
    assert stats.kstest(values, "uniform").pvalue > 1e-4


def test_calls_and_seeds_give_other_spikes_and_torch_seeds_repeat_them() -> None:
    layer = SbSLayer(2, 4, (6, 6), 3, 50)
    image = torch.rand(2, 2, 6, 6)
    torch.manual_seed(3)
    first, second = layer(image), layer(image)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(layer(image), first)
    assert torch.equal(layer(image), second)
    assert not torch.equal(layer(image, seed=1), layer(image, seed=2))


def test_the_mean_output_approaches_the_expected_mode() -> None:
    torch.manual_seed(0)
    layer = SbSLayer(1, 5, (3, 3), 3, 3000, "power", weight_noise_amplitude=8.0)
    image = torch.rand(40, 1, 3, 3).clamp(min=0.01)[:1].repeat(200, 1, 1, 1)
    mean = layer(image, seed=4).mean(0)
    layer.mode = "expected"
    assert (mean - layer(image[:1])[0]).abs().max() < 0.02


def _independent(first: Tensor, second: Tensor) -> float:
    table = torch.bincount(first * 4 + second, minlength=16).view(4, 4).numpy()
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    return float(stats.chi2_contingency(table)[1])  # type: ignore[arg-type]
