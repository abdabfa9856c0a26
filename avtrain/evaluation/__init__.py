"""What an encoder has learnt: protocols, scores, intervals, comparisons."""
