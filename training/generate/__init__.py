"""Generators of synthetic radiographs, and the data set they fill."""
