from .currents import currents as currents
from .initial import init as init
from .neurons import fires as fires
from .neurons import integrate as integrate
from .neurons import threshold as threshold
from .noisy import noisy as noisy
from .readouts import READOUTS as READOUTS
from .spikes import Spikes as Spikes
