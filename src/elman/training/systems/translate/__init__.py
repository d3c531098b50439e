"""An encoder-decoder for pairs of texts.

run.py     training
pairs.py   how pairs are read, coded and recorded
scores.py  evaluation: loss, BLEU, chrF, exact matches
"""
