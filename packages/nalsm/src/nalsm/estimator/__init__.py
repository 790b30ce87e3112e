"""Liquids for scikit-learn: what is learnt lies in the other rooms, here it gets fit, predict and transform.

`classifier.py` is the classifier and transformer, `regressor.py` predicts time series. `settings.py` holds the
parameters that both share, `inputs.py` how X becomes input events, `running.py` a liquid that keeps its state along a
series.
"""

from nalsm.estimator.classifier import EXPECTED_FAILED_CHECKS as EXPECTED_FAILED_CHECKS
from nalsm.estimator.classifier import LiquidStateMachine as LiquidStateMachine
from nalsm.estimator.regressor import LiquidStateRegressor as LiquidStateRegressor
