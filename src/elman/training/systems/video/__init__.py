"""Models that name clips or describe them.

run.py       training, evaluation, fusion of two runs
data.py      clips as numbers
describe.py  descriptions
"""
