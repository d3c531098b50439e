"""Scores: pure functions of numbers and texts, without models, files or randomness.

classification.py   accuracy, confusion, precision and recall by class, calibration, temperature
entities.py         spans of IOB1, IOB2 and IOBES labels, and their precision and recall
bleu.py, rouge.py, cider.py   texts against references (words of captions: penn.py)
retrieval.py        ranks of images and captions
answers.py          answers to questions
"""
