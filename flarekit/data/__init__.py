"""From CTs to what networks see: windows, slice stores, datasets, augmentation."""
