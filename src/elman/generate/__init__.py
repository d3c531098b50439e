"""Writing text with a language model: sampling, beam search, and how much of a text is copied.

sampling.py   texts drawn in a batch        filters.py   temperature, top-k, top-p, min-p; one draw
beam.py       the likeliest texts           stepping.py  a model read and stepped
novelty.py    copied passages               stream.py    text while it grows, safe for a terminal

translating.py  encoder-decoders: the likeliest targets, drawn ones, given ones judged
ensemble.py     several that write together      search.py   beams over many sources at once
"""

from elman.generate.beam import beam_search
from elman.generate.filters import Filters
from elman.generate.sampling import Sample, generate
from elman.generate.stream import Detokenizer, StopFinder, visible

__all__ = [
    "Detokenizer",
    "Filters",
    "Sample",
    "StopFinder",
    "beam_search",
    "generate",
    "visible",
]
