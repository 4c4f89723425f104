"""De-identification of DICOM by the table of PS3.15 E.1-1, with keyed pseudonyms and a report of every action."""
