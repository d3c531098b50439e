"""ConvNets for images: the lecture's Net, AlexNet, ZFNet, VGG, GoogLeNet, ResNet, SqueezeNet.

table.py      the nets by name: ``build(name, classes)``, ``NETS``, fresh weights, another head
families.py   each family as a table over blocks.py; chain.py: the class that they all are
weights.py    published weights into a net; statedict.py reads the files
describe.py   layers, shapes, parameters, multiply-adds, receptive fields
"""

from elman.models.convnets.chain import ConvNet
from elman.models.convnets.describe import Description, Field, Layer, describe
from elman.models.convnets.statedict import read_state
from elman.models.convnets.table import NETS, Design, build, design, initialise, replace_head
from elman.models.convnets.weights import load_weights, net_of

__all__ = [
    "NETS",
    "ConvNet",
    "Description",
    "Design",
    "Field",
    "Layer",
    "build",
    "describe",
    "design",
    "initialise",
    "load_weights",
    "net_of",
    "read_state",
    "replace_head",
]
