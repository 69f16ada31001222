"""From a data set as it was delivered to one that is fit to train on."""
