"""DICOM: headers, frames, series, geometry, pixel values, masks, and writing."""
