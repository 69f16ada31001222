"""Paired radiographs projected from chest CT series, with pneumonia laid into the lungs in 3-D."""
