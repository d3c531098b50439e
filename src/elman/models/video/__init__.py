"""Models of clips.

classifier.py  names a clip, frame by frame
describer.py   writes a sentence about one
features.py    frames of films as vectors, kept on disk
"""
