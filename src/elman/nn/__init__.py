"""torch modules: any recurrence, drop-ins for torch.nn's three, and cells in Python."""

from elman.nn.cell import Cell, Unroll
from elman.nn.dropin import GRU, LSTM, RNN
from elman.nn.initialise import initialise
from elman.nn.recurrent import Recurrent

__all__ = ["GRU", "LSTM", "RNN", "Cell", "Recurrent", "Unroll", "initialise"]
