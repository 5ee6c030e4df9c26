"""flarekit: abdominal organ segmentation for labs with many CTs and few labels."""

__version__ = "0.1.0"
