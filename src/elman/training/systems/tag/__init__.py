"""A tagger of words.

run.py       training, evaluation
data.py      columns of words and labels as numbers
examples.py  what the training loop asks for
"""
