"""How a segmenter is trained on pairs of radiograph and lung mask, and measured."""
