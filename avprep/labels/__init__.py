"""Label columns of a dataset: the user's own, noisy, several a clip, pseudo-labels."""
