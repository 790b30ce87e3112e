from .arrays import Recordings as Recordings
from .arrays import from_arrays as from_arrays
from .events import EventBatch as EventBatch
from .loading import DataSet as DataSet
from .loading import load_data as load_data
