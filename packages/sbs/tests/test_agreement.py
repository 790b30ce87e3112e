"""The count of spikes on which two engines differ: those at an edge are explained, others are not."""

import numpy as np
import pytest
import torch
from sbs.engines import reference
from sbs.engines.agreement import Agreement, compare_spikes
from sbs.engines.call import Call
from sbs.engines.geometry import Geometry
from torch import Tensor

IMAGE = torch.tensor([0.3, 0.2, 0.0, 0.5]).view(1, 4, 1, 1)  # edges at 0.3, 0.5, 0.5, 1
EDGES = reference.cumulative(IMAGE.view(1, 4))[0].numpy()
CALL = Call(Geometry((1, 1)), torch.ones(1), 1.0, torch.ones(1))


def counted(
    monkeypatch: pytest.MonkeyPatch, u: np.float32, one: int, other: int, image: Tensor = IMAGE
) -> Agreement:
    monkeypatch.setattr(reference, "uniforms", lambda *_: torch.full((1, 1), float(u)))
    return compare_spikes(image, CALL, *(torch.full((1, 1, 1, 1), spike) for spike in (one, other)))


def moved(edge: np.float32, ulps: int) -> np.float32:
    for _ in range(abs(ulps)):
        edge = np.nextafter(edge, np.float32(np.sign(ulps) * 9), dtype=np.float32)
    return edge


def test_a_draw_far_from_any_edge_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted(monkeypatch, np.float32(0.1), 0, 0) == Agreement(1, 0, 0, 0)
    assert counted(monkeypatch, np.float32(0.1), 0, 1) == Agreement(1, 0, 1, 1)


@pytest.mark.parametrize("ulps", [-2, -1, 0, 1, 2])
def test_a_draw_at_an_edge_may_differ_by_that_edge_alone(monkeypatch: pytest.MonkeyPatch, ulps: int) -> None:
    u = moved(EDGES[0], ulps)
    assert counted(monkeypatch, u, 0, 1) == Agreement(1, 1, 1, 0)
    assert counted(monkeypatch, u, 0, 3) == Agreement(1, 1, 1, 1)
    assert counted(monkeypatch, u, 1, 1) == Agreement(1, 1, 0, 0)


@pytest.mark.parametrize("ulps", [-3, 3])
def test_three_ulp_are_too_far(monkeypatch: pytest.MonkeyPatch, ulps: int) -> None:
    assert counted(monkeypatch, moved(EDGES[0], ulps), 0, 1) == Agreement(1, 0, 1, 1)


def test_a_component_of_probability_0_lies_between_equal_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted(monkeypatch, moved(EDGES[1], 1), 3, 1) == Agreement(1, 1, 1, 0)


def test_the_end_of_a_distribution_is_no_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    assert counted(monkeypatch, moved(np.float32(1), -1), 3, 3) == Agreement(1, 0, 0, 0)


def test_an_empty_patch_has_no_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    dark = torch.zeros_like(IMAGE)
    assert counted(monkeypatch, np.float32(0.3), -1, -1, dark) == Agreement(0, 0, 0, 0)
    assert counted(monkeypatch, np.float32(0.3), -1, 0, dark) == Agreement(0, 0, 1, 1)
