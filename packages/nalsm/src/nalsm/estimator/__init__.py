"""Liquids for scikit-learn: fit, predict and transform on top of the other rooms.

`classifier.py` is the classifier and transformer, `regressor.py` predicts time series. `settings.py` has the
parameters that both share, `inputs.py` turns X into input events, `running.py` is a liquid that keeps its state
along a series.
"""

from nalsm.estimator.classifier import EXPECTED_FAILED_CHECKS as EXPECTED_FAILED_CHECKS
from nalsm.estimator.classifier import LiquidStateMachine as LiquidStateMachine
from nalsm.estimator.regressor import LiquidStateRegressor as LiquidStateRegressor
