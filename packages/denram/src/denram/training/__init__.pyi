from .evaluation import evaluate as evaluate
from .loop import TrainedRun as TrainedRun
from .loop import train as train
from .runs import open_run as open_run
