"""How it learns: the rules by name, one file a rule, and what they stand on.

Open `table` first: every rule with the signal it hands to a hidden layer. Then `fa` (layer feedback), `dfa` (one
broadcast signal), `bdfa` (broadcast through feedback that learns) or `bfa` (a feedback network that generates the
input); `feedback_model` wraps any network with one of them. May import `model`, `data` and the configuration.
"""

from bdfa.rules.table import RULES, Rule, get_rule

__all__ = ["RULES", "Rule", "get_rule"]
