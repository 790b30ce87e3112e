r"""The learning rules: how the output error reaches the hidden layers.

With `δ_k` the gradient-like signal at the pre-activation of layer k, `f'` the derivative of its nonlinearity,
`e = ∂loss/∂logits` the output error and `y` the one-hot label, the rules differ in the signal handed to
`h_k`:

=============  =====================================  ===============================================
rule           signal at the activation h_k           feedback parameters
=============  =====================================  ===============================================
bp             δ_{k+1} W_{k+1}                        none
fa             δ_{k+1} F_{k+1}                        F_k fixed, shape of W_k
usf            δ_{k+1} c·sign(W_{k+1})                c = RMS of the initial weights
frsf           δ_{k+1} |F_{k+1}|∘sign(W_{k+1})        magnitudes fixed, signs shared
brsf           δ_{k+1} |F_{k+1}|∘sign(W_{k+1})        magnitudes redrawn at every forward pass
kolen-pollack  δ_{k+1} F_{k+1}                        F_k gets the update of W_k and the same decay
dfa            e B_k                                  B_k fixed, (classes, units)
sign-dfa       sign(e) B_k                            B_k fixed
drtp           y B_k                                  B_k fixed
bdfa           e B_k                                  B_k learns to map labels to activity
bfa            δ_{k+1} V_{L−k+1}^T                    V is a network that learns to generate the input
=============  =====================================  ===============================================

drtp sends the target itself down as a gradient, `+y B_k`, as its authors' program does. The sign is a convention:
`B_k` is symmetric about 0, and the output weights align with either.

Sources: FA Lillicrap et al. 2016; DFA Nøkland 2016; BFA and BDFA Luo, Fu and Glass 2017; usf, frsf, brsf
Liao, Leibo and Poggio 2016; sign-dfa and drtp Frenkel, Lefebvre and Bol 2021; Kolen and Pollack 1994.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reprokit import UserError

from bdfa.rules.protocol import METHODS, LearningRule, check_rule, is_own

Family = Literal["backpropagation", "layer", "direct", "bidirectional"]
Source = Literal["error", "sign", "target"]


@dataclass(frozen=True)
class Rule:
    """One learning rule.

    Attributes:
        name: The name that users write.
        family: ``"backpropagation"``; ``"layer"`` replaces the transpose of every layer's weights;
            ``"direct"`` sends one broadcast signal to every hidden layer; ``"bidirectional"`` sends the error
            through a learning feedback network.
        source: What a direct rule broadcasts: the error, its sign, or the one-hot target.
        learns_feedback: Whether the feedback learns from the labels.
    """

    name: str
    family: Family
    source: Source = "error"
    learns_feedback: bool = False

    @property
    def needs_labels(self) -> bool:
        """Whether a training forward pass needs ``labels=``."""
        return self.learns_feedback or self.source == "target"


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("bp", "backpropagation"),
        Rule("fa", "layer"),
        Rule("dfa", "direct"),
        Rule("bfa", "bidirectional", learns_feedback=True),
        Rule("bdfa", "direct", learns_feedback=True),
        Rule("usf", "layer"),
        Rule("frsf", "layer"),
        Rule("brsf", "layer"),
        Rule("kolen-pollack", "layer"),
        Rule("sign-dfa", "direct", source="sign"),
        Rule("drtp", "direct", source="target"),
    )
}


def get_rule(name: str | Rule | LearningRule) -> Rule | LearningRule:
    """Look a rule up by its name.

    Args:
        name: A key of `RULES`, or a rule, which is returned as it is: one of these or a `LearningRule` of your own.

    Returns:
        The rule.

    Raises:
        UserError: When no rule has that name, or an object is not a complete rule.
    """
    if isinstance(name, Rule):
        return name
    if is_own(name):
        return check_rule(name, "rule")
    if not isinstance(name, str) and any(hasattr(name, method) for method in METHODS):
        return check_rule(name, "rule")  # says what it lacks
    if not isinstance(name, str) or name not in RULES:
        raise UserError(f"rule={name!r} is unknown; choose one of {', '.join(RULES)}.")
    return RULES[name]
