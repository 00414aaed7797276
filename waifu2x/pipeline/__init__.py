"""One `Picture` through the networks of a model."""
