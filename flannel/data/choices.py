"""Choices that the options of commands and the code behind them share; it imports nothing heavy."""

from typing import Literal

Protocol = Literal["patient", "paper", "nested", "given", "leave-source-out", "external"]
"""How a cohort is cut into folds (`flannel.data.folds`)."""

Squaring = Literal["stretch", "letterbox"]
"""`stretch`: the aspect is ignored. `letterbox`: it is kept, between two bands of zeros."""
