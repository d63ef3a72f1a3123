"""Exports: decisions as files, folders and database tables, with a manifest that says what was written.

- :class:`Decisions`: the rows of the export contract; from a plan (:func:`from_allocation`), a run folder
  (:func:`from_run`) or a plan's file (:func:`from_file`);
- :func:`export_allocation`, :func:`export_decisions`: to a file or a folder of parts by arm;
- :func:`export_to_database`: upsert into PostgreSQL, SQLite or DuckDB;
- :func:`verify_export`, :func:`verify_database`: read it back and add it up;
- :func:`load_template`, :func:`read_template`: the columns a CRM wants.
"""

from uplift.export.allocation import export_allocation, export_decisions, write_table
from uplift.export.checks import Check, Verification
from uplift.export.databases import export_to_database, verify_database
from uplift.export.decisions import Decisions
from uplift.export.formats import FORMATS
from uplift.export.limit_use import LimitUse
from uplift.export.reasons import REASONS, ROLES
from uplift.export.sources import from_allocation, from_file, from_run, from_table, policy_of_run
from uplift.export.templates import Template, load_template, read_template, template_names
from uplift.export.verify import verify_export

__all__ = [
    "FORMATS",
    "REASONS",
    "ROLES",
    "Check",
    "Decisions",
    "LimitUse",
    "Template",
    "Verification",
    "export_allocation",
    "export_decisions",
    "export_to_database",
    "from_allocation",
    "from_file",
    "from_run",
    "from_table",
    "load_template",
    "policy_of_run",
    "read_template",
    "template_names",
    "verify_database",
    "verify_export",
    "write_table",
]
