"""The base learners: what they see of a radiograph (whole, lung crop, patches), how they train."""
