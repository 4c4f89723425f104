"""Beside a PACS: studies in, standard results back. Neither torch nor MONAI is imported here."""
