"""The base learners' networks: from (batch, 3, side, side) to logits (batch, classes)."""

from flannel.networks.cnn13 import CNN13
from flannel.networks.covid_net import CovidNet
from flannel.networks.darkcovidnet import DarkCovidNet
from flannel.networks.frozen import FrozenNetwork
from flannel.networks.imagenet import ImageNetNetwork, WeightsError, replace_head
from flannel.networks.timm_network import TimmNetwork

__all__ = [
    "CNN13",
    "CovidNet",
    "DarkCovidNet",
    "FrozenNetwork",
    "ImageNetNetwork",
    "TimmNetwork",
    "WeightsError",
    "replace_head",
]
