"""Texts as training material: sources, vocabularies, token files, splits and batches.

sources.py      what the user named -> a list of files      (download.py: URLs)
reading.py      files -> chunks of text
vocabulary.py   text <-> token ids                          (characters, bytelevel, words, subwords)
splits.py       where training ends and validation begins
tokens.py       all of it in one call: ``prepare(sources) -> Corpus``
batches.py      a token array -> parallel streams for truncated BPTT
labelled.py     texts with a label each; conll.py: words with a label each
embeddings.py   word vectors that somebody has trained
images/         folders and archives of images, preprocessing, augmentation
"""
