"""The readings of the bdfa plan and the claims that judge them name the same runs and published numbers."""

from pathlib import Path

import pytest
from reprokit.claims import load_claims

CLAIMS = Path(__file__).resolve().parents[1] / "claims.toml"


def test_every_reading_has_a_claim_of_the_published_column() -> None:
    readings = pytest.importorskip("bdfa.reproduce.readings")
    claims = {claim.id: claim for claim in load_claims(CLAIMS)}
    assert {name for name in claims if "-reading-" in name} == {
        f"bdfa-{reading.claim}" for reading in readings.READINGS
    }
    for reading in readings.READINGS:
        claim = claims[f"bdfa-{reading.claim}"]
        table = claims[f"bdfa-table-2x400-{reading.rule}"]
        assert claim.where["claim"] == reading.claim
        assert claim.where["rule"] == reading.rule
        assert claim.value == table.value == readings.PUBLISHED[reading.rule]
        assert claim.tolerance == table.tolerance == readings.TOLERANCE
