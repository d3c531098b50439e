"""Captions: an encoder looks at an image, a recurrence writes words.

ways.py       the ways in which the recurrence is told of the image
decoders.py   words and image to what the softmax reads; soft attention
encoding.py   the encoder's description, coarser grids
captioner.py  the whole model
together.py   several captioners as one
"""

from elman.models.captioning.captioner import Captioner
from elman.models.captioning.together import Together
from elman.models.captioning.ways import WAYS, Way, way_of

__all__ = ["WAYS", "Captioner", "Together", "Way", "way_of"]
