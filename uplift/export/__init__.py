"""Exports: an allocation as a file that a CRM can load, with a manifest that says what was written."""

from uplift.export.allocation import FORMATS, export_allocation, export_table, verify_export

__all__ = ["FORMATS", "export_allocation", "export_table", "verify_export"]
