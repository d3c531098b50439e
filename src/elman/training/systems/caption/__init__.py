"""Captions of images.

run.py            training, in one stage or several
data.py           images with their captions, by part
examples.py       what the training loop asks for
self_critical.py  learning from the score of sampled captions
scores.py         evaluation: scores, retrieval, controls
"""
