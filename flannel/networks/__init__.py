"""The base learners' networks: from (batch, 3, side, side) to logits (batch, classes)."""

from flannel.networks.imagenet import ImageNetNetwork, WeightsError, replace_head

__all__ = ["ImageNetNetwork", "WeightsError", "replace_head"]
