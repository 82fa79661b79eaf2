"""The lung segmenter: radiographs in, lung masks out."""
