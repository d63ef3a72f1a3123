"""Public randomised campaigns: cards, local lookup, download, loading and verification."""

from __future__ import annotations

from uplift.datasets.cards import DatasetCard, get_card, list_datasets
from uplift.datasets.download import get_dataset
from uplift.datasets.load import load_dataset
from uplift.datasets.local import data_homes, find_files
from uplift.datasets.tables import DatasetWarning
from uplift.datasets.verify import Finding, verify_dataset

__all__ = [
    "DatasetCard",
    "DatasetWarning",
    "Finding",
    "data_homes",
    "find_files",
    "get_card",
    "get_dataset",
    "list_datasets",
    "load_dataset",
    "verify_dataset",
]
