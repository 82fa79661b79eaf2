"""FLANNEL: the neural weight module (paper 004, equation 1), its training, and its baselines."""

from flannel.ensemble.combinations import NeuralWeightModule

__all__ = ["NeuralWeightModule"]
