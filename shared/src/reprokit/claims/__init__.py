"""Published numbers, the verdicts on them, and the results page.

May import `run` and the rooms below it. Open `claims.py` first, then `verdicts.py`.
"""

from reprokit.claims.claims import Claim, load_claims
from reprokit.claims.verdicts import Verdict, judge

__all__ = ["Claim", "Verdict", "judge", "load_claims"]
