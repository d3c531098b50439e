"""A classifier of images.

run.py       training, evaluation
choose.py    net, sizes and rates that the user left open
data.py      images by part
examples.py  what the training loop asks for
"""
