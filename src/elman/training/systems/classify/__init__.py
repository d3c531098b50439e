"""A classifier of texts.

run.py       training, evaluation
data.py      labelled texts as numbers
examples.py  what the training loop asks for
tables.py    the scores as tables
"""
