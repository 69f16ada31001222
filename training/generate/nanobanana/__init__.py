"""Nano Banana: Google's image models, asked one by one or by the Batch API."""
