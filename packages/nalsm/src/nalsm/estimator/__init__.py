"""Liquids for scikit-learn: what is learnt lies in the other rooms, here it gets fit, predict and transform.

`classifier.py` is the classifier and transformer, `settings.py` holds the parameters that all estimators share, and
`inputs.py` how X becomes input events.
"""

from nalsm.estimator.classifier import EXPECTED_FAILED_CHECKS as EXPECTED_FAILED_CHECKS
from nalsm.estimator.classifier import LiquidStateMachine as LiquidStateMachine
