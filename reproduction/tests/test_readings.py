"""The readings of the bdfa plan and the claims that judge them name the same runs and published numbers."""

from pathlib import Path

import pytest
from reprokit.claims import load_claims

CLAIMS = Path(__file__).resolve().parents[1] / "claims.toml"
NET = "2x400"


def test_every_reading_has_a_claim_of_the_published_column() -> None:
    readings = pytest.importorskip("bdfa.reproduce.readings")
    claims = {claim.id: claim for claim in load_claims(CLAIMS)}
    named = {f"bdfa-{reading.claim}": reading for reading in readings.READINGS}
    judged = {name: claim for name, claim in claims.items() if "-reading-" in name}
    assert {name for name, claim in judged.items() if claim.where["net"] == NET} == set(named)
    for name, claim in judged.items():
        net = claim.where["net"]
        reading = named[name if net == NET else name.removesuffix(f"-{net}")]
        table = claims[f"bdfa-table-{net}-{reading.rule}"]
        assert claim.where["claim"] == reading.claim
        assert claim.where["rule"] == reading.rule
        assert claim.value == table.value == readings.PUBLISHED[net][reading.rule]
        assert claim.tolerance == table.tolerance == readings.TOLERANCE


def test_the_published_errors_of_all_networks_are_those_of_the_claims() -> None:
    readings = pytest.importorskip("bdfa.reproduce.readings")
    claims = {claim.id: claim.value for claim in load_claims(CLAIMS)}
    for net, errors in readings.PUBLISHED.items():
        assert errors == {rule: claims[f"bdfa-table-{net}-{rule}"] for rule in readings.TABLE}
