from .spikes import Spikes as Spikes
