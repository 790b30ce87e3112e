from .scores import scores as scores
from .spikes import Spikes as Spikes
