"""n-gram language models: maximum likelihood and modified Kneser-Ney, and mixtures with any other model."""

from elman.models.ngram.mixture import Mixture, tune_weights
from elman.models.ngram.model import NgramEvaluation, NgramModel, train_ngram

__all__ = [
    "Mixture",
    "NgramEvaluation",
    "NgramModel",
    "train_ngram",
    "tune_weights",
]
