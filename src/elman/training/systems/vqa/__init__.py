"""Answers to questions about images.

run.py       training, evaluation
examples.py  what the training loop asks for
"""
