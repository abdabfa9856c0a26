"""A dataset for others: its card, its Croissant metadata, its upload to the Hugging Face hub."""
