"""Models: one interface (`base`), one list (`registry`), one room per family."""
