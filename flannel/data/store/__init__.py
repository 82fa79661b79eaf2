"""The store: every radiograph decoded once, at one size, memory-mapped; lung masks beside it."""

from flannel.data.store.build import BuildReport, build_store
from flannel.data.store.layout import StoreError
from flannel.data.store.masks import MaskReport, fill_lung_masks
from flannel.data.store.store import Store

__all__ = ["BuildReport", "MaskReport", "Store", "StoreError", "build_store", "fill_lung_masks"]
