"""Answers to questions about images.

network.py  the question is read, the image looked at, an answer chosen
sight.py    the image as a grid of vectors
gridnet.py  a small ConvNet that is trained along
"""
