"""Results as DICOM objects beside their source: segmentations, reports, key images, presentation states, maps."""
