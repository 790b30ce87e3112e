"""Print the first Python or bash example of a README: what somebody who has just installed the package types."""

import re
import sys
from pathlib import Path

found = re.search(
    r"^```(python|bash)\n(.*?)^```$", Path(sys.argv[1]).read_text(encoding="utf-8"), re.M | re.S
)
if found is None:
    sys.exit(f"{sys.argv[1]} has no fenced python or bash example.")
print(found[2], end="")
