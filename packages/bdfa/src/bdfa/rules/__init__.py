"""The learning rules by name, one file per rule, and what they build on.

Open `table` first: every rule with the signal it hands to a hidden layer. Then `fa` (layer feedback), `dfa` (one
broadcast signal), `bdfa` (broadcast through feedback that learns) or `bfa` (a feedback network that generates the
input); `feedback_model` wraps any network with one of them. A rule of your own is an object with the four methods
of `protocol`; `builtin` has the rules of the table in that form. May import `model`, `data` and the configuration.
"""

from bdfa.rules.protocol import LearningRule, Place, Seen
from bdfa.rules.table import RULES, Rule, get_rule

__all__ = ["RULES", "LearningRule", "Place", "Rule", "Seen", "get_rule"]
