"""What every family shares and that belongs to none: errors, artifact formats, preprocessing, charts."""
