"""Pure tensor code about patches: where they lie, what they cover and how they vote."""
