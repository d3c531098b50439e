"""Lesions: cells of a recurrent language model are held at a value while it runs, to see what they are for.

intervention.py   what is done to which cells        controls.py    matched random cells
lesioned.py       the model in which it is done      bootstrap.py   intervals for autocorrelated text
statistics.py     what cells usually are             result.py      what the measurement gives
losses.py         losses of many lesions at once     beside.py      texts with and without, from one seed
effect.py         the cost on and off a label
"""

from elman.insight.lesions.beside import Beside, sample_beside, within
from elman.insight.lesions.bootstrap import Estimate
from elman.insight.lesions.effect import lesion_effect
from elman.insight.lesions.intervention import Intervention, cell_of, interventions_on
from elman.insight.lesions.lesioned import Lesioned, lesioned, values_in
from elman.insight.lesions.losses import row_nats
from elman.insight.lesions.result import LesionEffect
from elman.insight.lesions.statistics import CellStatistics, cell_statistics

__all__ = [
    "Beside",
    "CellStatistics",
    "Estimate",
    "Intervention",
    "LesionEffect",
    "Lesioned",
    "cell_of",
    "cell_statistics",
    "interventions_on",
    "lesion_effect",
    "lesioned",
    "row_nats",
    "sample_beside",
    "values_in",
    "within",
]
